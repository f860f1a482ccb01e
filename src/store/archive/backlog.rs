//! Journals that are kept for the archive alone.
//!
//! When a store is written anew while the archive is late, its former journals stay until the
//! archive has them. The file `UNARCHIVED` says up to which batch they count: what comes after it
//! in them was never acknowledged.
//!
//! ```text
//! foreshadow unarchived
//! journal N to BATCH         (a line for each)
//! crc 01234567
//! ```

use std::path::Path;

use crate::store::StoreError;
use crate::store::disk::Disk;

const NAME: &str = "UNARCHIVED";
const TITLE: &str = "foreshadow unarchived\n";
/// Rebuilds that the archive may sleep through: the disk is beyond help long before.
const MAX: usize = 64;

/// The number of two journals, and the last batch of theirs that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Kept {
    pub(in crate::store) journal: u64,
    pub(in crate::store) to: u64,
}

/// What the file in `dir` says; nothing if it is not there or not whole.
pub(in crate::store) fn read(dir: &Path) -> Vec<Kept> {
    let text = std::fs::read_to_string(dir.join(NAME)).unwrap_or_default();
    parse(&text).unwrap_or_default()
}

fn parse(text: &str) -> Option<Vec<Kept>> {
    let body = text.strip_prefix(TITLE)?;
    let (lines, crc) = body.rsplit_once("crc ")?;
    let sum = crc32c::crc32c(text.get(..TITLE.len() + lines.len())?.as_bytes());
    if crc.trim_end() != format!("{sum:08x}") {
        return None;
    }
    let kept = lines.lines().map(|line| {
        let (journal, to) = line.strip_prefix("journal ")?.split_once(" to ")?;
        Some(Kept { journal: journal.parse().ok()?, to: to.parse().ok()? })
    });
    kept.collect()
}

/// Adds to the file in `dir`, durably. Called while no other journals are in force yet.
pub(in crate::store) fn add(disk: &Disk, dir: &Path, new: Kept) -> Result<(), StoreError> {
    let mut all = read(dir);
    all.retain(|kept| kept.journal != new.journal);
    all.push(new);
    let all = all.split_at(all.len().saturating_sub(MAX)).1;
    let lines = all.iter().map(|kept| format!("journal {} to {}\n", kept.journal, kept.to));
    let body = format!("{TITLE}{}", lines.collect::<String>());
    let text = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
    let (path, fresh) = (dir.join(NAME), dir.join(format!("{NAME}.new")));
    let file = disk.create(&fresh)?;
    disk.write_at(&file, &fresh, text.as_bytes(), 0)?;
    disk.sync(&file, &fresh)?;
    disk.rename(&fresh, &path)?;
    disk.sync_dir(dir)
}

/// The archive has all of them.
pub(in crate::store) fn clear(disk: &Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(NAME);
    if path.exists() { disk.remove(&path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_was_added_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("fs-backlog-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(read(&dir), []);
        let disk = Disk::default();
        let kept = [Kept { journal: 1, to: 17 }, Kept { journal: 3, to: 40 }];
        kept.iter().for_each(|kept| add(&disk, &dir, *kept).unwrap());
        assert_eq!(read(&dir), kept);
        let text = std::fs::read_to_string(dir.join(NAME)).unwrap();
        std::fs::write(dir.join(NAME), text.replace("17", "18")).unwrap();
        assert_eq!(read(&dir), [], "a changed file is not believed");
        clear(&disk, &dir).unwrap();
        clear(&disk, &dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
