//! Where a hook stands among the audit records: a small file, exchanged whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TITLE: &str = "foreshadow hook\n";
/// The longest such file.
const BYTES_MAX: u64 = 256;

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.hook"))
}

/// The number of the next record of a hook; `None` if it never had one.
pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<u64>> {
    let file = match File::open(path(dir, name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let text = io::read_to_string(io::Read::take(file, BYTES_MAX))?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "damaged");
    parse(&text).map(Some).ok_or_else(bad)
}

fn parse(text: &str) -> Option<u64> {
    let (next, _) = text.strip_prefix(TITLE)?.strip_prefix("next ")?.split_once('\n')?;
    let next: u64 = next.parse().ok()?;
    (text_of(next) == text).then_some(next)
}

fn text_of(next: u64) -> String {
    let body = format!("{TITLE}next {next}\n");
    format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()))
}

/// Keeps the number, durably.
pub(super) fn write(dir: &Path, name: &str, next: u64) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let (path, new) = (path(dir, name), dir.join(format!("{name}.new")));
    let mut file = File::create(&new)?;
    file.write_all(text_of(next).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

/// Forgets hooks that are no more: one of that name begins anew.
pub(super) fn forget_others(dir: &Path, names: &[Arc<str>]) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".hook"));
        if name.is_some_and(|name| !names.iter().any(|known| **known == *name))
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!("{}: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_and_a_damaged_one_is_not_believed() {
        let dir = std::env::temp_dir().join(format!("fs-hooks-{}", std::process::id()));
        assert_eq!(read(&dir, "a").unwrap(), None);
        write(&dir, "a", 17).unwrap();
        write(&dir, "b", u64::MAX).unwrap();
        assert_eq!(
            (read(&dir, "a").unwrap(), read(&dir, "b").unwrap()),
            (Some(17), Some(u64::MAX))
        );
        let text = fs::read_to_string(path(&dir, "a")).unwrap();
        fs::write(path(&dir, "a"), text.replace("17", "18")).unwrap();
        assert!(read(&dir, "a").is_err());
        forget_others(&dir, &["a".into()]);
        assert_eq!(read(&dir, "b").unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
