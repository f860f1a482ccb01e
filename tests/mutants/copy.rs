//! A copy of the source in which all mutations of a list stand beside what they take the place of:
//! `if mutant::is(3) { broken } else { as it was }`. It is built once; which one is in force is
//! chosen when a test of it runs. The copy has the dependencies of this build, and no binary.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::plant::{Mutation, plant};

/// What chooses; none is in force without it.
pub(crate) const CHOICE: &str = "MUTANT";
/// What the copy asks whether it is to be broken.
const SWITCH: &str = "
#[allow(missing_docs)]
pub mod mutant {
    static CHOSEN: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    pub fn is(number: usize) -> bool {
        let read = || std::env::var(\"MUTANT\").ok()?.parse().ok();
        *CHOSEN.get_or_init(read) == Some(number)
    }
}
";

/// A copy of the source.
pub(crate) struct Copy {
    dir: PathBuf,
    texts: BTreeMap<PathBuf, Vec<u8>>,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Copy {
    /// What is to be in the copy of this name: the source, and these directories.
    pub(crate) fn new(name: &str, dirs: &[&str]) -> Copy {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name);
        let mut copy = Copy { dir, texts: BTreeMap::new() };
        for dir in ["src", "config", "benches"].iter().chain(dirs) {
            copy.gather(Path::new(dir));
        }
        for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
            copy.texts.insert(PathBuf::from(name), fs::read(root().join(name)).unwrap());
        }
        // A package of the same name would take the place of the true one in the target directory.
        copy.texts.remove(Path::new("src/main.rs"));
        let own = format!("name = \"foreshadow-{name}\"");
        let renamed = |text: String| text.replacen("name = \"foreshadow\"", &own, 1);
        copy.edit("Cargo.lock", renamed);
        let guards = "[[test]]\nname = \"guards\"\ntest = false\n";
        let binary = "[[bin]]\nname = \"foreshadow\"\npath = \"src/main.rs\"\nbench = false\n";
        copy.edit("Cargo.toml", |text| {
            assert!(text.contains(binary), "where is the binary?");
            assert!(text.contains(guards), "where is what is only built by its name?");
            let text = text.replace(guards, "");
            let text = text.replace("default-run = \"foreshadow\"\n", "autobins = false\n");
            renamed(text.replace(binary, ""))
        });
        copy
    }

    /// Changes a text.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(String) -> String) {
        let bytes = self.texts.get_mut(Path::new(name));
        let bytes = bytes.unwrap_or_else(|| panic!("{name} is not there"));
        *bytes = change(String::from_utf8(std::mem::take(bytes)).unwrap()).into_bytes();
    }

    /// Plants all mutations, by their place in the list.
    pub(crate) fn plant(&mut self, mutations: &[Mutation]) {
        let mut by_file: BTreeMap<&str, Vec<(usize, &Mutation)>> = BTreeMap::new();
        for (number, mutation) in mutations.iter().enumerate() {
            by_file.entry(&mutation.file).or_default().push((number, mutation));
        }
        for (file, planted) in by_file {
            self.edit(file, |text| plant(file, &text, &planted));
        }
        self.edit("src/lib.rs", |text| text + SWITCH);
    }

    fn gather(&mut self, dir: &Path) {
        for entry in fs::read_dir(root().join(dir)).unwrap() {
            let path = dir.join(entry.unwrap().file_name());
            match root().join(&path).is_dir() {
                true if path.ends_with("target") || path.ends_with("artifacts") => {}
                true => self.gather(&path),
                false => {
                    drop(self.texts.insert(path.clone(), fs::read(root().join(path)).unwrap()))
                }
            }
        }
    }

    /// Writes it, builds these tests (`lib` for those of the library), and says where they are.
    /// What is as it was before is not written again, so that it need not be built again.
    pub(crate) fn build(&self, tests: &[&str]) -> BTreeMap<String, PathBuf> {
        self.remove_strangers(&self.dir);
        for (name, text) in &self.texts {
            let path = self.dir.join(name);
            if fs::read(&path).ok().as_ref() != Some(text) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
            }
        }
        let cargo = PathBuf::from(std::env::var_os("CARGO").expect("run by cargo"));
        let mut command = Command::new(&cargo);
        command.args(["test", "--frozen", "--no-run", "--message-format=json"]);
        for test in tests {
            match *test {
                "lib" => command.arg("--lib"),
                test => command.args(["--test", test]),
            };
        }
        command.current_dir(&self.dir).env("CARGO_TARGET_DIR", self.dir.parent().unwrap());
        // Under sudo, what is built belongs to the one who builds, and the path is another's.
        let id = |name: &str| std::env::var(name).ok().and_then(|id| id.parse().ok());
        if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
            chown(&self.dir, uid, gid);
            command.uid(uid).gid(gid).env("RUSTC", cargo.with_file_name("rustc"));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let messages =
            said.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        let errors = messages.clone().filter(|m| m["message"]["level"] == "error");
        let faults: String =
            errors.filter_map(|m| Some(m["message"]["rendered"].as_str()?.to_owned())).collect();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the mutations do not compile:\n{faults}\n{stderr}");
        let is_test = |m: &serde_json::Value| m["profile"]["test"] == true;
        let built = messages.filter(is_test).filter_map(|m| {
            let is_lib = m["target"]["kind"][0] == "lib";
            let name = if is_lib { "lib" } else { m["target"]["name"].as_str()? };
            Some((name.to_owned(), PathBuf::from(m["executable"].as_str()?)))
        });
        built.collect()
    }

    /// Removes files that an earlier copy had, and the source has no longer.
    fn remove_strangers(&self, dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&self.dir).unwrap();
            match path.is_dir() {
                true => self.remove_strangers(&path),
                false if self.texts.contains_key(name) => {}
                false => fs::remove_file(&path).unwrap(),
            }
        }
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

fn chown(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    for entry in path.is_dir().then(|| fs::read_dir(path).unwrap()).into_iter().flatten() {
        chown(&entry.unwrap().path(), uid, gid);
    }
}
