//! Disks that refuse, tear and die.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use foreshadow::lease::Seq;
use foreshadow::store::disk::{Disk, Fault, Hook, Op};
use foreshadow::store::{DiskStore, Store, StoreError};

use crate::support::*;

/// EIO and ENOSPC at each operation of a commit: it fails, everything is refused, a rebuild
/// brings the store back, and only what was acknowledged is there.
#[test]
fn a_failed_commit_is_healed_by_a_rebuild() {
    for (error, rule) in [
        (5, Rule::Once(0)),
        (5, Rule::Once(1)),
        (28, Rule::Always(Op::Write, "journal")),
        (5, Rule::Always(Op::Sync, "journal")),
        (5, Rule::Torn(100)),
    ] {
        let place = Place::new(&format!("commit-{error}"));
        let failing = Failing::with(error);
        let (mut store, ..) = open_on(&failing.disk(), &place.store()).unwrap();
        let mut model = Model::default();
        commit_some(&mut store, &mut model, 1..=20);
        failing.set(rule);
        let failed = store.commit(Seq(21), &[put(1, 21)]);
        assert!(matches!(failed, Err(StoreError::Io { .. })), "{rule:?}: {failed:?}");
        failing.set(Rule::Never);
        assert!(matches!(store.commit(Seq(22), &[put(2, 22)]), Err(StoreError::Broken)));
        assert!(store.maintain().is_err());
        store.rebuild(&model.contents()).unwrap();
        // The number that failed may come again.
        commit_some(&mut store, &mut model, 21..=30);
        store.maintain().unwrap();
        drop(store);
        assert_eq!(reopened(&place.store()), model, "{rule:?}");
    }
}

/// A sync fails, and the process ends before it has written everything anew: the next one still
/// reads from the kernel's memory what the disk may not have, and does not build on it.
#[test]
fn after_a_failed_sync_the_next_start_writes_everything_anew() {
    let journal_of = |place: &Place| {
        let current = std::fs::read_to_string(place.store().join("CURRENT")).unwrap();
        current.lines().find(|line| line.starts_with("journal")).unwrap().to_owned()
    };
    for when in ["commit", "checkpoint", "start"] {
        let place = Place::new(&format!("distrust-{when}"));
        let failing = Failing::new();
        let opened = DiskStore::open_on(failing.disk(), &place.store(), &eager(), false);
        let (mut store, ..) = opened.unwrap();
        let mut model = Model::default();
        commit_some(&mut store, &mut model, 1..=20);
        let before = journal_of(&place);
        failing
            .set(Rule::Always(Op::Sync, if when == "commit" { "journal" } else { "checkpoint" }));
        match when {
            "commit" => {
                store.commit(Seq(21), &[put(1, 21)]).unwrap_err();
                // Not acknowledged, and in the file all the same.
                model.apply(21, &[put(1, 21)]);
            }
            "checkpoint" => {
                checkpoint(&mut store).unwrap_err();
            }
            _ => {}
        }
        drop(store);
        if when == "start" {
            assert!(open_on(&failing.disk(), &place.store()).is_err());
        }
        failing.set(Rule::Never);
        assert_eq!(reopened(&place.store()), model, "{when}");
        let after = journal_of(&place);
        assert_ne!(before, after, "{when}: the old files are still in force");
        assert_eq!(reopened(&place.store()), model, "{when}");
        assert_eq!(journal_of(&place), after, "{when}: written anew without need");
    }
}

/// The process dies at each step of a rebuild: the next start finds all that was committed.
#[test]
fn a_rebuild_can_be_killed_at_every_step() {
    let mut steps = 0;
    loop {
        let place = Place::new("rebuild-kill");
        let failing = Failing::new();
        let (mut store, ..) = open_on(&failing.disk(), &place.store()).unwrap();
        let mut model = Model::default();
        commit_some(&mut store, &mut model, 1..=20);
        failing.set(Rule::DeadAfter(steps));
        let rebuilt = store.rebuild(&model.contents());
        let finished = failing.count() <= steps;
        drop(store);
        assert_eq!(reopened(&place.store()), model, "dead after {steps} steps");
        if finished {
            rebuilt.unwrap();
            break;
        }
        steps += 1;
    }
    assert!(steps > 15, "a rebuild took {steps} steps");
}

/// Each step of a rebuild fails once, after a failed commit: called again, it succeeds.
#[test]
fn a_rebuild_that_fails_can_be_called_again() {
    for step in 0.. {
        let place = Place::new("rebuild-again");
        let failing = Failing::new();
        let (mut store, ..) = open_on(&failing.disk(), &place.store()).unwrap();
        let mut model = Model::default();
        commit_some(&mut store, &mut model, 1..=20);
        failing.set(Rule::Once(0));
        store.commit(Seq(21), &[put(1, 21)]).unwrap_err();
        failing.set(Rule::Once(step));
        let first = store.rebuild(&model.contents());
        let finished = failing.count() <= step;
        failing.set(Rule::Never);
        if first.is_err() {
            assert!(store.commit(Seq(22), &[put(1, 22)]).is_err(), "step {step}");
            store.rebuild(&model.contents()).unwrap();
        }
        commit_some(&mut store, &mut model, 21..=30);
        drop(store);
        assert_eq!(reopened(&place.store()), model, "step {step}");
        if finished {
            assert!(step > 15, "a rebuild took {step} steps");
            break;
        }
    }
}

/// A rebuild that fails without need leaves a sound store at work.
#[test]
fn a_sound_store_survives_a_failing_rebuild() {
    let place = Place::new("rebuild-sound");
    let failing = Failing::with(28);
    let (mut store, ..) = open_on(&failing.disk(), &place.store()).unwrap();
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=20);
    failing.set(Rule::Always(Op::Create, "checkpoint"));
    store.rebuild(&model.contents()).unwrap_err();
    failing.set(Rule::Never);
    commit_some(&mut store, &mut model, 21..=30);
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

/// The process dies at each step of creating a store, and of opening one.
#[test]
fn an_opening_can_be_killed_at_every_step() {
    for filled in [false, true] {
        let mut steps = 0;
        loop {
            let place = Place::new(&format!("open-kill-{filled}"));
            let mut model = Model::default();
            if filled {
                let (mut store, _) = open(&place.store(), &lazy());
                commit_some(&mut store, &mut model, 1..=20);
            }
            let failing = Failing::new();
            failing.set(Rule::DeadAfter(steps));
            drop(open_on(&failing.disk(), &place.store()));
            let finished = failing.count() <= steps;
            assert_eq!(reopened(&place.store()), model, "{filled}: dead after {steps} steps");
            if finished {
                break;
            }
            steps += 1;
        }
        assert!(steps > 6, "{filled}: opening took {steps} steps");
    }
}

/// When the checkpoint fails, commits go on in the journals, and a rebuild puts it right.
#[test]
fn a_failed_checkpoint_stops_no_commit() {
    for rule in [Rule::Always(Op::Checkpoint, "checkpoint"), Rule::Always(Op::Sync, "checkpoint")] {
        let place = Place::new("stalled");
        let failing = Failing::new();
        let opened = DiskStore::open_on(failing.disk(), &place.store(), &eager(), false);
        let (mut store, ..) = opened.unwrap();
        let mut model = Model::default();
        commit_some(&mut store, &mut model, 1..=20);
        failing.set(rule);
        assert!(matches!(checkpoint(&mut store), Err(StoreError::Io { .. })), "{rule:?}");
        commit_some(&mut store, &mut model, 21..=3000);
        assert!(store.maintain().is_err());
        failing.set(Rule::Never);
        if rule == Rule::Always(Op::Sync, "checkpoint") {
            store.rebuild(&model.contents()).unwrap();
            commit_some(&mut store, &mut model, 3001..=3010);
            checkpoint(&mut store).unwrap();
        }
        drop(store);
        assert_eq!(reopened(&place.store()), model, "{rule:?}");
    }
}

/// Files removed or replaced under a running store: maintenance notices, and a rebuild writes
/// all of them anew, and the directory too.
#[test]
fn removed_files_are_noticed_and_written_anew() {
    for removed in ["journal-1.a", "journal-1.b", "CURRENT", "checkpoint-1", "", "replaced"] {
        let place = Place::new("removed");
        let (mut store, _) = open(&place.store(), &lazy());
        let mut model = Model::default();
        commit_some(&mut store, &mut model, 1..=20);
        store.maintain().unwrap();
        let path = place.store().join(removed);
        if removed == "replaced" {
            let aside = place.0.join("aside");
            copy(&place.store(), &aside);
            std::fs::remove_dir_all(place.store()).unwrap();
            std::fs::rename(aside, place.store()).unwrap();
        } else if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        let noticed = store.maintain();
        assert!(noticed.is_err(), "{removed:?} was not missed");
        assert!(store.maintain().is_err(), "each call is an error until a rebuild");
        if ["CURRENT", "checkpoint-1"].contains(&removed) {
            commit_some(&mut store, &mut model, 21..=25);
        } else {
            let refused = store.commit(Seq(21), &[put(1, 21)]);
            assert!(refused.is_err(), "{removed:?}: gone at the next start, and acknowledged");
        }
        store.rebuild(&model.contents()).unwrap();
        store.maintain().unwrap();
        commit_some(&mut store, &mut model, 26..=30);
        let other = DiskStore::open(&place.store(), &lazy(), false).map(drop);
        assert!(matches!(other, Err(StoreError::Locked { .. })), "{other:?}");
        drop(store);
        assert_eq!(reopened(&place.store()), model, "{removed:?}");
    }
}

/// Who removes what is being written to is noticed by the next batch.
#[test]
fn a_batch_in_a_removed_journal_is_no_batch() {
    let place = Place::new("unlinked");
    let (mut store, _) = open(&place.store(), &lazy());
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=20);
    std::fs::remove_dir_all(place.store()).unwrap();
    assert!(store.commit(Seq(21), &[put(1, 21)]).is_err());
    store.rebuild(&model.contents()).unwrap();
    commit_some(&mut store, &mut model, 22..=30);
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

/// A merge fails while a rebuild waits for it, and then the rebuild fails too: what only the
/// journals hold must not be written over.
#[test]
fn a_rebuild_notices_that_the_checkpoint_failed() {
    let place = Place::new("stalled-rebuild");
    let failing = Failing::new();
    let (disk, dir) = (failing.disk(), place.store());
    let (mut store, ..) = DiskStore::open_on(disk, &dir, &eager(), false).unwrap();
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=20);
    failing.set(Rule::Always(Op::Checkpoint, "checkpoint"));
    store.maintain().unwrap();
    store.rebuild(&model.contents()).unwrap_err();
    failing.set(Rule::Never);
    commit_some(&mut store, &mut model, 21..=40);
    for _ in 0..5 {
        store.maintain().unwrap_err();
    }
    commit_some(&mut store, &mut model, 41..=60);
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

/// Holds up the checkpoint as long as it is closed.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }
}

impl Hook for Gate {
    fn before(&self, op: Op, _: &Path) -> Option<Fault> {
        if op == Op::Checkpoint {
            drop(self.opened.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap());
        }
        None
    }
}

/// While a checkpoint hangs, commits go on, and no journal that it still needs is written over.
#[test]
fn a_late_checkpoint_holds_up_no_commit_and_loses_nothing() {
    let place = Place::new("late");
    let gate = Arc::new(Gate::default());
    let disk = Disk::with_hook(Arc::clone(&gate) as Arc<dyn Hook>);
    let (mut store, ..) = DiskStore::open_on(disk, &place.store(), &eager(), false).unwrap();
    let mut model = Model::default();
    gate.set(true);
    for round in 0..60 {
        // Far beyond what the journals are meant to hold.
        commit_some(&mut store, &mut model, round * 100 + 1..=(round + 1) * 100);
        store.maintain().unwrap();
    }
    let done = store.stats().checkpoints;
    let as_killed = place.0.join("as-killed");
    copy(&place.store(), &as_killed);
    gate.set(false);
    assert_eq!(done, 0);
    assert_eq!(reopened(&as_killed), model);
    checkpoint(&mut store).unwrap();
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}
