//! The recorder, a program in C: it runs another program and logs what that does.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the recorder in `work` and returns its path.
pub(crate) fn build(work: &Path) -> PathBuf {
    compile(work, "recorder")
}

/// Builds `tests/powercut/<name>.c` in `work` and returns the path of the program.
pub(crate) fn compile(work: &Path, name: &str) -> PathBuf {
    let program = work.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/powercut/{name}.c"));
    let status = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .args([&program, &source])
        .status()
        .expect("cc must be there: install the Debian package gcc");
    assert!(status.success(), "cc failed: are gcc and libc6-dev installed?");
    program
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    use crate::Work;
    use crate::replay::Log;

    /// Runs one trick of `strangers.c` below `work`.
    fn trick(work: &Work, name: &str) -> Output {
        let (recorder, strangers) = (super::build(&work.0), super::compile(&work.0, "strangers"));
        let root = work.0.join("root");
        std::fs::create_dir_all(&root).unwrap();
        let mut command = Command::new(recorder);
        command.args([&work.0.join("log"), &root, &strangers, &root, Path::new(name)]);
        command.output().unwrap()
    }

    #[test]
    fn what_passes_libc_by_is_recorded() {
        let work = Work::new("raw");
        for name in ["raw-write", "raw-send"] {
            let done = trick(&work, name);
            assert!(done.status.success(), "{name}: {done:?}");
        }
        let log = Log::read(&work.0.join("log"));
        let seen = |kinds: &[u8]| -> Vec<&[u8]> {
            log.of_kind(kinds).into_iter().map(|i| log.data(&log.events[i])).collect()
        };
        assert_eq!(seen(b"w"), [b"raw"]);
        assert_eq!(seen(b"a"), [b"raw"]);
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        let work = Work::new("strange");
        for (name, why) in [
            ("shared-memory", "shares memory with a file"),
            ("link", "is not known"),
            ("fallocate", "changes a file in a way that is not modelled"),
            ("io_uring", "system call 425(0x8, "),
            ("fork", "starts a process"),
            ("rename-out", "renames into or out of the directory"),
            ("dots", "names a file by way of another directory"),
        ] {
            let done = trick(&work, name);
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(3), "{name}: {done:?}");
            assert!(said.contains(why), "{name}: {said}");
        }
        let log = work.0.join("log");
        let read = std::panic::catch_unwind(|| Log::read(&log));
        assert!(read.is_err(), "a log with such a call is read as if it were whole");
    }
}
