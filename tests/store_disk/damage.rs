//! Files that say something else than what was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use foreshadow::store::{DiskStore, Store, StoreError, open_copy};

use crate::support::*;

/// Every file below `dir` and its bytes.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

/// A store with a checkpoint up to batch 60 and a journal up to 100.
fn filled(place: &Place) -> Model {
    let (mut store, _) = open(&place.store(), &eager());
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=60);
    checkpoint(&mut store).unwrap();
    while store.maintain().is_ok() && store.stats().checkpoints < 1 {}
    drop(store);
    let (mut store, _) = open(&place.store(), &lazy());
    commit_some(&mut store, &mut model, 61..=100);
    model
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_journal_is_named_and_kept_and_recovered_on_request() {
    let place = Place::new("damaged-journal");
    let model = filled(&place);
    let path = place.store().join("journal-1.a");
    // The eleventh batch after the checkpoint, in its payload.
    flip(&path, 11 * 512 + 100);
    let before = snapshot(&place.store());
    let error = DiskStore::open(&place.store(), &lazy(), false).map(drop).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("journal-1.a") && message.contains("byte 5632"), "{message}");
    assert!(message.ends_with("last good batch is 70"), "{message}");
    assert!(snapshot(&place.store()) == before, "the files stay as they are");
    assert!(open_copy(&place.store(), false).is_err());
    let copy = Model::of(&open_copy(&place.store(), true).unwrap().0);

    let (store, contents, recovery) = DiskStore::open(&place.store(), &lazy(), true).unwrap();
    drop(store);
    assert_eq!(recovery.lost.len(), 1);
    let kept = recovery.kept.unwrap();
    assert_eq!(std::fs::read(kept.join("journal-1.a")).unwrap(), before[&path]);
    let mut want = Model::default();
    for seq in (1..=100).filter(|seq| *seq != 71) {
        want.apply(seq, &[0, 1, 100].map(|step| put((seq * 7 + step) as u32 % 500, seq)));
    }
    assert_eq!(Model::of(&contents), want);
    assert_eq!(copy, want);
    assert_ne!(want, model);
    assert_eq!(reopened(&place.store()), want, "opens as usual from then on");
    assert!(kept.exists());
}

/// Any byte of the checkpoint: everything is there, or damage is reported and the files stay.
#[test]
fn a_damaged_checkpoint_is_noticed() {
    let place = Place::new("damaged-checkpoint");
    let model = filled(&place);
    let whole = snapshot(&place.store());
    let files: Vec<&PathBuf> =
        whole.keys().filter(|p| p.parent().unwrap().ends_with("checkpoint-1")).collect();
    let mut noticed = 0;
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for i in 0..120 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let path = files[i % files.len()];
        // The end of a database file is mostly empty.
        let used = whole[path].iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let at = random as usize % used;
        flip(path, at);
        let case = format!("{} byte {at}", path.display());
        match DiskStore::open(&place.store(), &lazy(), false) {
            Ok((store, contents, _)) => {
                drop(store);
                assert_eq!(Model::of(&contents), model, "{case}");
            }
            Err(StoreError::Damaged { .. } | StoreError::Checkpoint { .. }) => {
                noticed += 1;
                let mut now = snapshot(&place.store());
                *now.get_mut(path).unwrap() = whole[path].clone();
                assert!(now == whole, "{case}: other files changed");
                if noticed % 4 == 0 {
                    assert_recovers(&place.store(), &model, &case);
                }
            }
            Err(e) => panic!("{case}: {e}"),
        }
        std::fs::remove_dir_all(place.store()).unwrap();
        for (path, bytes) in &whole {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(place.store().join("checkpoint-1/blobs")).unwrap();
    }
    assert!(noticed > 20, "only {noticed} flips were noticed");
}

/// sled repairs a damaged end by rolling back. In files that were written in one go, a backup or
/// a rebuild, there is no journal that would show it.
#[test]
fn a_checkpoint_that_was_rolled_back_is_noticed() {
    let place = Place::new("rolled-back");
    let (mut store, _) = open(&place.store(), &lazy());
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=200);
    let (send, done) = channel();
    let backup = place.0.join("backup");
    store.backup(&backup, Box::new(move |result| send.send(result).unwrap()));
    done.recv().unwrap().unwrap();
    store.rebuild(&model.contents()).unwrap();
    drop(store);

    for dir in [backup, place.store()] {
        let whole = snapshot(&dir);
        let is_data = |path: &&PathBuf| path.ends_with("db");
        let data = whole.keys().find(is_data).unwrap();
        let used: Vec<usize> = (0..whole[data].len()).filter(|at| whole[data][*at] != 0).collect();
        for from in (0..10).map(|tenth| used.len() * tenth / 10) {
            let mut bytes = whole[data].clone();
            used[from..].iter().for_each(|at| bytes[*at] ^= 0xff);
            std::fs::write(data, bytes).unwrap();
            let error = open_copy(&dir, false).map(drop).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. } | StoreError::Checkpoint { .. }),
                "{}, from byte {}: {error}",
                data.display(),
                used[from]
            );
        }
        std::fs::write(data, &whole[data]).unwrap();
        assert_eq!(Model::of(&open_copy(&dir, false).unwrap().0), model);
    }
}

/// One flipped byte costs at most the block it is in.
fn assert_recovers(dir: &Path, model: &Model, case: &str) {
    let (store, contents, recovery) = DiskStore::open(dir, &lazy(), true).unwrap();
    drop(store);
    assert!(!recovery.lost.is_empty() && recovery.kept.is_some(), "{case}");
    let found = Model::of(&contents);
    let missing = model.leases.keys().filter(|key| !found.leases.contains_key(*key)).count();
    assert!(missing <= 64, "{case}: {missing} leases are missing");
    assert_eq!(reopened(dir), found, "{case}");
}

#[test]
fn a_lost_file_is_damage() {
    for lost in ["CURRENT", "journal-1.a", "journal-1.b", "checkpoint-1/db", "checkpoint-1/conf"] {
        let place = Place::new("lost");
        let model = filled(&place);
        std::fs::remove_file(place.store().join(lost)).unwrap();
        let error = DiskStore::open(&place.store(), &lazy(), false).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{lost}: {error}");
        let (store, contents, recovery) = DiskStore::open(&place.store(), &lazy(), true).unwrap();
        drop(store);
        assert!(!recovery.lost.is_empty() && recovery.kept.is_some(), "{lost}");
        if lost.ends_with("conf") || lost == "CURRENT" {
            assert_eq!(Model::of(&contents), model, "{lost}");
        }
    }
}

#[test]
fn a_damaged_or_newer_current_is_refused() {
    let place = Place::new("current");
    filled(&place);
    let path = place.store().join("CURRENT");
    let text = std::fs::read_to_string(&path).unwrap();
    for at in 0..text.len() {
        flip(&path, at);
        let error = DiskStore::open(&place.store(), &lazy(), false).map(drop).unwrap_err();
        let refused = matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. });
        assert!(refused, "byte {at}: {error}");
        std::fs::write(&path, &text).unwrap();
    }
    std::fs::write(&path, "foreshadow store\nformat 9\nsomething else\n").unwrap();
    for recover in [false, true] {
        let error = DiskStore::open(&place.store(), &lazy(), recover).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9, known: 2, .. }), "{error}");
    }
}

/// Everything else is whole: CURRENT costs nothing, whatever became of it.
#[test]
fn a_damaged_current_is_recovered_without_loss() {
    let place = Place::new("current-recover");
    let model = filled(&place);
    let path = place.store().join("CURRENT");
    let text = std::fs::read(&path).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![Vec::new(), vec![0; text.len()], text[..30].to_vec()];
    for at in [0, 24, 34, text.len() - 3] {
        let mut flipped = text.clone();
        flipped[at] ^= 1;
        cases.push(flipped);
    }
    let whole = place.0.join("whole");
    copy(&place.store(), &whole);
    for (i, damaged) in cases.iter().enumerate() {
        std::fs::remove_dir_all(place.store()).unwrap();
        copy(&whole, &place.store());
        std::fs::write(&path, damaged).unwrap();
        let error = DiskStore::open(&place.store(), &lazy(), false).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "case {i}: {error}");
        let (copied, told) = open_copy(&place.store(), true).unwrap();
        assert!(told.lost[0].to_string().contains("CURRENT"));
        let (store, contents, recovery) = DiskStore::open(&place.store(), &lazy(), true).unwrap();
        drop(store);
        assert_eq!(Model::of(&copied), model, "case {i}");
        assert_eq!(Model::of(&contents), model, "case {i}");
        assert!(recovery.lost.len() == 1, "case {i}: {:?}", recovery.lost);
        assert!(recovery.lost[0].to_string().contains("CURRENT"), "case {i}");
        assert_eq!(std::fs::read(recovery.kept.unwrap().join("CURRENT")).unwrap(), *damaged);
        assert_eq!(reopened(&place.store()), model, "case {i}");
    }
}

/// Leftovers of the generation before, and a half-written copy, lie beside what was in force.
#[test]
fn the_newest_consistent_files_are_found_without_current() {
    let place = Place::new("current-newest");
    let mut model = filled(&place);
    let old = place.0.join("old");
    copy(&place.store(), &old);
    let (mut store, _) = open(&place.store(), &lazy());
    store.rebuild(&model.contents()).unwrap();
    commit_some(&mut store, &mut model, 101..=120);
    drop(store);
    std::fs::remove_file(place.store().join("CURRENT")).unwrap();
    for name in ["journal-1.a", "journal-1.b"] {
        std::fs::copy(old.join(name), place.store().join(name)).unwrap();
    }
    copy(&old.join("checkpoint-1"), &place.store().join("checkpoint-1"));
    copy(&old.join("checkpoint-1"), &place.store().join("checkpoint-90"));
    std::fs::write(place.store().join("checkpoint-90/db"), [0; 5000]).unwrap();
    let (store, contents, recovery) = DiskStore::open(&place.store(), &lazy(), true).unwrap();
    drop(store);
    assert_eq!(Model::of(&contents), model);
    assert_eq!(recovery.lost.len(), 1, "{:?}", recovery.lost);
    assert_eq!(reopened(&place.store()), model);
}

/// With the batches in it gone, nothing else tells an emptied journal from one not yet written.
#[test]
fn an_emptied_journal_is_damage_and_a_new_one_is_not() {
    let place = Place::new("emptied");
    let (store, _) = open(&place.store(), &lazy());
    drop(store);
    let new = place.0.join("new");
    copy(&place.store(), &new);
    assert_eq!(reopened(&new), Model::default());
    let roomy = foreshadow::store::StoreOptions { journal_bytes: 4 << 20, ..lazy() };
    let (mut store, _) = open(&place.store(), &roomy);
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=3000);
    drop(store);
    let path = place.store().join("journal-1.a");
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() == 2 << 20, "{}", bytes.len());
    let zeroed = vec![0; bytes.len()];
    let cut = |length: usize| &bytes[..length];
    // At the ends of batches: the shorter chain is without fault.
    for left in [&zeroed[..], cut(0), cut(512), cut(512 * 11), cut((1 << 20) + 512 * 7)] {
        std::fs::write(&path, left).unwrap();
        let case = format!("{} bytes left", left.len());
        let error = DiskStore::open(&place.store(), &lazy(), false).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{case}: {error}");
        assert!(error.to_string().contains("journal-1.a"), "{case}: {error}");
        let (contents, recovery) = open_copy(&place.store(), true).unwrap();
        assert!(!recovery.lost.is_empty() && contents.seq.0 < 3000, "{case}");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(reopened(&place.store()), model);
}

/// sled's settings: not text, or not its own.
#[test]
fn damaged_settings_of_sled_are_named_and_recovered() {
    for (at, byte) in [(3, 0xff), (15, b'7'), (2, b'!')] {
        let place = Place::new("conf");
        let model = filled(&place);
        let path = place.store().join("checkpoint-1/conf");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] = byte;
        std::fs::write(&path, bytes).unwrap();
        let error = DiskStore::open(&place.store(), &lazy(), false).map(drop).unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { path: named, .. } if *named == path),
            "byte {at}: {error}"
        );
        let (store, contents, recovery) = DiskStore::open(&place.store(), &lazy(), true).unwrap();
        drop(store);
        assert!(recovery.lost[0].to_string().contains("conf"), "byte {at}: {:?}", recovery.lost);
        assert!(Model::of(&contents) == model, "byte {at}: something is missing");
    }
}

/// What a power cut leaves of the last batch: it was never acknowledged, and is dropped.
#[test]
fn a_torn_tail_opens_unaided_and_is_told() {
    let place = Place::new("torn");
    filled(&place);
    let path = place.store().join("journal-1.a");
    flip(&path, 40 * 512 + 60);
    let (store, contents, recovery) = DiskStore::open(&place.store(), &lazy(), false).unwrap();
    drop(store);
    assert_eq!((contents.seq.0, recovery.replayed), (99, 39));
    assert_eq!(recovery.torn, Some((path, 40 * 512)));
}
