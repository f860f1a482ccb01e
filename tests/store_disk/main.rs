//! The store on disk: it holds what was committed, through checkpoints, restarts, failing disks
//! and kills at every step.
#![allow(clippy::unwrap_used)]

mod archive;
mod damage;
mod failing;
mod support;

use std::sync::mpsc::channel;

use foreshadow::base::{NetworkId, Timestamp};
use foreshadow::lease::{Cause, Change, Seq};
use foreshadow::store::{Store, StoreError, open_copy};
use support::*;

/// Random operations, beside a model that cannot fail.
#[test]
fn it_holds_what_a_map_would_hold() {
    for seed in 1..=6u64 {
        let place = Place::new(&format!("model-{seed}"));
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let options = if seed % 2 == 0 { eager() } else { lazy() };
        let (mut store, contents) = open(&place.store(), &options);
        assert_eq!(Model::of(&contents), Model::default());
        let mut model = Model::default();
        for _ in 0..300 {
            match random(40) {
                0 => {
                    drop(store);
                    let (again, contents) = open(&place.store(), &options);
                    assert_eq!(Model::of(&contents), model, "seed {seed}");
                    store = again;
                }
                1 => store.rebuild(&model.contents()).unwrap(),
                2..10 => store.maintain().unwrap(),
                _ => {
                    let seq = model.seq + 1 + random(2);
                    let changes: Vec<Change> = (0..random(9))
                        .map(|_| match random(10) {
                            0 => {
                                let gone = lease(random(300) as u32, 0);
                                Change::Remove(gone.network, gone.resource, None)
                            }
                            1 => Change::Meta(format!("m{}", random(3)).into(), [seq as u8].into()),
                            2 => Change::Forget(format!("m{}", random(3)).into()),
                            3 => act(seq),
                            _ => put(random(300) as u32, seq),
                        })
                        .collect();
                    store.commit(Seq(seq), &changes).unwrap();
                    if !changes.is_empty() {
                        model.apply(seq, &changes);
                    }
                }
            }
        }
        drop(store);
        assert_eq!(reopened(&place.store()), model, "seed {seed}");
    }
}

#[test]
fn journals_take_turns_and_stay_small() {
    let place = Place::new("turns");
    let (mut store, _) = open(&place.store(), &lazy());
    let mut model = Model::default();
    // 512 bytes a batch: each round fills a journal.
    for round in 0..6 {
        commit_some(&mut store, &mut model, round * 2048 + 1..=(round + 1) * 2048);
        while store.stats().checkpoints <= round {
            store.maintain().unwrap();
        }
    }
    let journals: u64 = ["a", "b"]
        .map(|side| std::fs::metadata(place.store().join(format!("journal-1.{side}"))))
        .into_iter()
        .map(|meta| meta.unwrap().len())
        .sum();
    assert!(journals <= 4 << 20, "journals hold {journals} bytes");
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

/// When the data outgrow the cache, the checkpoint moves to fresh files, and a backup or a start
/// finds it there.
#[test]
fn a_checkpoint_that_outgrows_its_cache_is_rewritten() {
    let place = Place::new("rewrite");
    let options = foreshadow::store::StoreOptions { cache_bytes: 1 << 17, ..eager() };
    let (mut store, _) = open(&place.store(), &options);
    let mut model = Model::default();
    for seq in 1..=20u64 {
        let changes: Vec<Change> = (0..500).map(|i| put(seq as u32 * 500 + i, seq)).collect();
        store.commit(Seq(seq), &changes).unwrap();
        model.apply(seq, &changes);
        checkpoint(&mut store).unwrap();
    }
    let names = std::fs::read_dir(place.store()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let checkpoints: Vec<String> = names.filter(|name| name.starts_with("checkpoint")).collect();
    assert!(checkpoints.len() == 1 && checkpoints[0] != "checkpoint-1", "{checkpoints:?}");
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

#[test]
fn a_small_store_is_small() {
    let place = Place::new("small");
    let (mut store, _) = open(&place.store(), &lazy());
    commit_some(&mut store, &mut Model::default(), 1..=10);
    assert!(store.stats().disk_bytes < 3 << 20, "{:?}", store.stats());
}

#[test]
fn networks_families_and_names_do_not_mix() {
    let place = Place::new("families");
    let (mut store, _) = open(&place.store(), &eager());
    let mut changes = Vec::new();
    for network in [NetworkId(1), NetworkId(2)] {
        for resource in [
            "10.0.0.1",
            "10.0.0.63",
            "10.0.0.64",
            "2001:db8::1",
            "2001:db8::41",
            "2001:db8:0:100::/56",
            "2001:db8:0:200::/56",
            "2001:db8:0:100::/64",
            "2001:db8:0:100::1/56",
            "::/0",
        ] {
            let resource = resource.parse().unwrap();
            let lease = foreshadow::lease::Lease { network, resource, ..lease(1, 1) };
            changes.push(Change::Put(lease, Cause::Granted));
        }
    }
    for name in ["", "a", "ab", "a\0", "a\0b", "a\n"] {
        changes.push(Change::Meta(name.into(), name.as_bytes().into()));
    }
    let mut model = Model::default();
    model.apply(1, &changes);
    store.commit(Seq(1), &changes).unwrap();
    checkpoint(&mut store).unwrap();
    let gone: Vec<Change> = changes.iter().step_by(3).filter_map(removal).collect();
    model.apply(2, &gone);
    store.commit(Seq(2), &gone).unwrap();
    checkpoint(&mut store).unwrap();
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

fn removal(change: &Change) -> Option<Change> {
    match change {
        Change::Put(lease, _) => {
            Some(Change::Remove(lease.network, lease.resource, Some(Timestamp(9))))
        }
        Change::Meta(name, _) => Some(Change::Forget(name.clone())),
        _ => None,
    }
}

/// Leases with all that a relay can say fill a block far beyond one part.
#[test]
fn blocks_of_large_leases_are_cut_in_parts() {
    let place = Place::new("parts");
    let (mut store, _) = open(&place.store(), &eager());
    let mut model = Model::default();
    for (seq, size) in [(1, 250), (2, 20), (3, 250), (4, 0)] {
        let large = |host: u32| {
            let mut lease = lease(host, seq);
            let details = std::sync::Arc::make_mut(&mut lease.details);
            details.circuit_id = Some(vec![host as u8; size].into());
            details.remote_id = Some(vec![0xff; size].into());
            Change::Put(lease, Cause::Renewed)
        };
        let changes: Vec<Change> = (0..128).map(large).collect();
        store.commit(Seq(seq), &changes).unwrap();
        model.apply(seq, &changes);
        checkpoint(&mut store).unwrap();
    }
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

#[test]
fn a_second_opener_is_refused() {
    let place = Place::new("lock");
    let (_store, _) = open(&place.store(), &lazy());
    let second = foreshadow::store::DiskStore::open(&place.store(), &lazy(), true);
    assert!(matches!(second.map(drop), Err(StoreError::Locked { .. })));
    assert!(matches!(open_copy(&place.store(), false).map(drop), Err(StoreError::Locked { .. })));
}

#[test]
fn a_backup_is_a_store_and_commits_go_on_meanwhile() {
    let place = Place::new("backup");
    let (mut store, _) = open(&place.store(), &lazy());
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=200);
    let (send, done) = channel();
    let to = place.0.join("copy");
    store.backup(&to, Box::new(move |result| send.send(result).unwrap()));
    let at_backup = model.clone();
    commit_some(&mut store, &mut model, 201..=220);
    while done.try_recv().map(Result::unwrap).is_err() {
        store.maintain().unwrap();
    }
    assert_eq!(reopened(&to), at_backup);
    let (send, done) = channel();
    store.backup(&to, Box::new(move |result| send.send(result).unwrap()));
    assert!(done.recv().unwrap().is_err(), "a backup never writes over another");
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}

#[test]
fn a_copy_is_read_without_a_trace() {
    let place = Place::new("copy");
    assert!(open_copy(&place.store(), false).is_err());
    let (mut store, _) = open(&place.store(), &lazy());
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=100);
    drop(store);
    let before = damage::snapshot(&place.store());
    let (contents, recovery) = open_copy(&place.store(), false).unwrap();
    assert_eq!((Model::of(&contents), recovery.replayed), (model, 100));
    assert!(damage::snapshot(&place.store()) == before);
}

#[test]
fn refused_batches_leave_the_store_as_it_was() {
    let place = Place::new("refused");
    let (mut store, _) = open(&place.store(), &lazy());
    let mut model = Model::default();
    commit_some(&mut store, &mut model, 1..=5);
    let long = Change::Meta("long".into(), vec![0; 1 << 16].into());
    let refused = store.commit(Seq(6), &[put(3, 3), long]);
    assert!(matches!(refused, Err(StoreError::Record(_))));
    assert!(matches!(store.commit(Seq(5), &[put(1, 1)]), Err(StoreError::OutOfOrder { .. })));
    commit_some(&mut store, &mut model, 6..=7);
    drop(store);
    assert_eq!(reopened(&place.store()), model);
}
