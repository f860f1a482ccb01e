//! The archive beside the store: every audit record of an acknowledged batch, once and in order,
//! whatever becomes of the disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use foreshadow::base::{NetworkId, Resource, Timestamp};
use foreshadow::lease::{Cause, Change, Lease, Seq, State};
use foreshadow::store::archive::holder::who;
use foreshadow::store::archive::segment;
use foreshadow::store::archive::{ArchiveOptions, Backward, Entry, Forward};
use foreshadow::store::disk::{Disk, Op};
use foreshadow::store::{DiskStore, Store, StoreError, StoreOptions};

use crate::support::*;

/// What an archive must hold: batch and change of each record.
type Kept = Vec<(u64, Change)>;

fn audit(place: &Place) -> PathBuf {
    place.0.join("audit")
}

/// Small segments, so that there are many.
fn archive(place: &Place) -> ArchiveOptions {
    ArchiveOptions { segment_bytes: 4096, ..ArchiveOptions::at(&audit(place)) }
}

fn start(disk: &Disk, place: &Place, options: &StoreOptions) -> Result<DiskStore, StoreError> {
    let archive = archive(place);
    let opened = DiskStore::open_archived(disk.clone(), &place.store(), options, archive, false);
    opened.map(|(store, ..)| store)
}

/// A batch of everything: what is kept, what is not, and what ends.
fn batch(seq: u64) -> Vec<Change> {
    let host = (seq % 50) as u32;
    let mut changes = vec![put(host, seq)];
    if seq.is_multiple_of(2) {
        changes.push(Change::Put(lease(host + 100, seq), Cause::Renewed));
        changes.push(Change::Meta("n".into(), seq.to_le_bytes().as_slice().into()));
    }
    if seq.is_multiple_of(3) {
        changes.push(act(seq));
    }
    if seq.is_multiple_of(5) {
        let gone = lease(host + 1, seq);
        let lifted = seq.is_multiple_of(10).then_some(Timestamp(seq));
        changes.push(Change::Remove(gone.network, gone.resource, lifted));
    }
    changes
}

fn is_kept(change: &Change) -> bool {
    match change {
        Change::Put(_, cause) => *cause != Cause::Renewed,
        Change::Remove(_, _, lifted) => lifted.is_some(),
        Change::Act(_) => true,
        Change::Meta(..) | Change::Forget(_) => false,
    }
}

fn note(kept: &mut Kept, seq: u64) {
    kept.extend(batch(seq).into_iter().filter(is_kept).map(|change| (seq, change)));
}

fn commit(store: &mut DiskStore, kept: &mut Kept, seqs: impl Iterator<Item = u64>) {
    for seq in seqs {
        store.commit(Seq(seq), &batch(seq)).unwrap();
        note(kept, seq);
    }
}

fn entries(place: &Place) -> Vec<Entry> {
    let mut reader = Forward::from(&audit(place), 1);
    let all: Vec<Entry> = std::iter::from_fn(|| reader.read().unwrap()).collect();
    assert_eq!(reader.take_missed(), 0, "records are missing");
    let mut back = Backward::before(&audit(place), None);
    let mut reversed: Vec<Entry> = std::iter::from_fn(|| back.read().unwrap()).collect();
    reversed.reverse();
    assert_eq!(all, reversed, "forward and backward differ");
    all
}

#[track_caller]
fn check(place: &Place, kept: &Kept) {
    let found = entries(place);
    let numbers: Vec<u64> = found.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=found.len() as u64).collect::<Vec<_>>());
    let found: Kept = found.into_iter().map(|entry| (entry.seq, entry.change)).collect();
    let same = found.iter().zip(kept).take_while(|(a, b)| a == b).count();
    assert_eq!(found.len(), kept.len(), "they differ from record {same} on");
    assert!(found == *kept, "they differ from record {same} on");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn it_holds_every_audit_record_in_order() {
    let place = Place::new("archive");
    let mut kept = Kept::new();
    for life in 0..4u64 {
        let options = if life % 2 == 0 { eager() } else { lazy() };
        let mut store = start(&Disk::default(), &place, &options).unwrap();
        check(&place, &kept);
        for seq in life * 100 + 1..=life * 100 + 100 {
            commit(&mut store, &mut kept, seq..=seq);
            store.maintain().unwrap();
        }
        drop(store);
        check(&place, &kept);
    }
    assert!(segment::list(&audit(&place)).unwrap().len() > 4, "one segment is no test");
    let middle = kept.len() as u64 / 2;
    let mut reader = Forward::from(&audit(&place), middle);
    assert_eq!(reader.read().unwrap().unwrap().number, middle);
    let mut back = Backward::before(&audit(&place), Some(middle));
    assert_eq!(back.read().unwrap().unwrap().number, middle - 1);
}

/// A reader follows what a running server writes.
#[test]
fn a_reader_follows() {
    let place = Place::new("archive-follow");
    let mut store = start(&Disk::default(), &place, &eager()).unwrap();
    let watch = store.archive().unwrap().watch();
    let mut kept = Kept::new();
    let mut reader = Forward::from(&audit(&place), 1);
    for round in 0..20u64 {
        commit(&mut store, &mut kept, round * 10 + 1..=round * 10 + 10);
        let archive = store.archive().unwrap();
        wait_until("the archive has it", || {
            assert_eq!(archive.status().trouble, None);
            *watch.borrow() > kept.len() as u64
        });
        while let Some(entry) = reader.read().unwrap() {
            assert_eq!((entry.seq, &entry.change), {
                let (seq, change) = &kept[entry.number as usize - 1];
                (*seq, change)
            });
        }
        assert_eq!(reader.position(), kept.len() as u64 + 1);
        store.maintain().unwrap();
    }
}

/// The process dies at each operation on the disk, the archive's among them.
#[test]
fn a_kill_at_any_step_loses_and_repeats_nothing() {
    for step in (0..400).step_by(3) {
        let place = Place::new("archive-kill");
        let failing = Failing::new();
        failing.set(Rule::DeadAfter(step));
        let mut kept = Kept::new();
        let mut tried = Kept::new();
        if let Ok(mut store) = start(&failing.disk(), &place, &eager()) {
            for seq in 1..=60 {
                match store.commit(Seq(seq), &batch(seq)) {
                    Ok(()) => note(&mut kept, seq),
                    Err(_) => {
                        note(&mut tried, seq);
                        break;
                    }
                }
                let _ = store.maintain();
            }
        }
        let store = start(&Disk::default(), &place, &lazy()).unwrap();
        drop(store);
        let found = entries(&place).len();
        if found == kept.len() + tried.len() {
            // It was not acknowledged, and is there whole: in the store as well.
            kept.append(&mut tried);
        }
        check(&place, &kept);
    }
}

/// An archive that cannot be written stops nothing and loses nothing: not by a checkpoint, nor by
/// a restart, nor when the store is written anew.
#[test]
fn an_archive_that_fails_loses_nothing() {
    for (op, error) in [(Op::Write, 5), (Op::Sync, 5), (Op::Create, 5)] {
        let place = Place::new(&format!("archive-fails-{op:?}-{error}"));
        let failing = Failing::with(error);
        let mut kept = Kept::new();
        let mut model = Model::default();
        let mut store = start(&failing.disk(), &place, &eager()).unwrap();
        commit(&mut store, &mut kept, 1..=50);
        wait_until("a checkpoint", || {
            store.maintain().unwrap();
            store.stats().checkpoints > 0
        });
        failing.set(Rule::Always(op, "segment-"));
        for seq in 51..=150 {
            commit(&mut store, &mut kept, seq..=seq);
            store.maintain().unwrap();
        }
        let archive = store.archive().unwrap();
        wait_until("the trouble is known", || archive.status().trouble.is_some());
        (1..=150).for_each(|seq| model.apply(seq, &batch(seq)));
        store.rebuild(&model.contents()).unwrap();
        for seq in 151..=200 {
            commit(&mut store, &mut kept, seq..=seq);
            store.maintain().unwrap();
        }
        (151..=200).for_each(|seq| model.apply(seq, &batch(seq)));
        drop((store, archive));
        // A start while it fails still.
        let mut store = start(&failing.disk(), &place, &eager()).unwrap();
        assert!(store.archive().unwrap().status().trouble.is_some());
        commit(&mut store, &mut kept, 201..=230);
        (201..=230).for_each(|seq| model.apply(seq, &batch(seq)));
        drop(store);
        failing.set(Rule::Never);
        let mut store = start(&failing.disk(), &place, &eager()).unwrap();
        commit(&mut store, &mut kept, 231..=240);
        (231..=240).for_each(|seq| model.apply(seq, &batch(seq)));
        wait_until("journals kept for the archive are gone", || {
            store.maintain().unwrap();
            !place.store().join("UNARCHIVED").exists()
        });
        drop(store);
        check(&place, &kept);
        assert_eq!(reopened(&place.store()), model, "{op:?} {error}");
    }
}

/// On a full disk the oldest records give way, and nothing else.
#[test]
fn a_full_disk_costs_the_oldest_records() {
    let place = Place::new("archive-full");
    let failing = Failing::with(28);
    let mut store = start(&failing.disk(), &place, &eager()).unwrap();
    let mut kept = Kept::new();
    commit(&mut store, &mut kept, 1..=200);
    drop(store);
    let mut store = start(&failing.disk(), &place, &eager()).unwrap();
    failing.set(Rule::Always(Op::Write, "segment-"));
    commit(&mut store, &mut kept, 201..=210);
    let archive = store.archive().unwrap();
    wait_until("one segment is left", || segment::list(&audit(&place)).unwrap().len() == 1);
    failing.set(Rule::Never);
    wait_until("it goes on", || archive.status().next > kept.len() as u64);
    drop(store);
    let mut reader = Forward::from(&audit(&place), 1);
    let left: Vec<Entry> = std::iter::from_fn(|| reader.read().unwrap()).collect();
    assert!(left[0].number > 1, "the oldest are gone");
    let newest = kept.iter().skip(left[0].number as usize - 1);
    assert!(left.iter().map(|e| (&e.seq, &e.change)).eq(newest.map(|(s, c)| (s, c))));
}

/// It heals by itself, with nothing lost or twice.
#[test]
fn an_archive_that_fails_for_a_while_goes_on() {
    for rule in [Rule::Always(Op::Sync, "segment-"), Rule::Always(Op::Write, "segment-")] {
        let place = Place::new("archive-heals");
        let failing = Failing::new();
        let mut store = start(&failing.disk(), &place, &eager()).unwrap();
        let mut kept = Kept::new();
        for round in 0..3u64 {
            commit(&mut store, &mut kept, round * 40 + 1..=round * 40 + 20);
            failing.set(rule);
            commit(&mut store, &mut kept, round * 40 + 21..=round * 40 + 40);
            let archive = store.archive().unwrap();
            wait_until("the trouble is known", || {
                store.maintain().unwrap();
                archive.status().trouble.is_some()
            });
            failing.set(Rule::Never);
            wait_until("the trouble is over", || archive.status().trouble.is_none());
        }
        drop(store);
        check(&place, &kept);
    }
}

/// A journal that the archive is done with is written over while it fails: it reads that no more.
#[test]
fn an_archive_that_fails_reads_nothing_that_was_written_over() {
    let place = Place::new("archive-written-over");
    let failing = Failing::new();
    let mut store = start(&failing.disk(), &place, &eager()).unwrap();
    let archive = store.archive().unwrap();
    failing.set(Rule::Always(Op::Write, "segment-"));
    let mut kept = Kept::new();
    let turned = |store: &mut DiskStore, kept: &mut Kept, seq: u64, change: Change| {
        let before = store.stats().checkpoints;
        store.commit(Seq(seq), std::slice::from_ref(&change)).unwrap();
        if is_kept(&change) {
            kept.push((seq, change));
        } else {
            archive.prune(Timestamp(0));
            wait_until("it was looked at", || archive.status().behind == 0);
        }
        wait_until("a checkpoint", || {
            store.maintain().unwrap();
            store.stats().checkpoints > before
        });
    };
    // Nothing of the first is for the archive; the second is in the other journal.
    turned(&mut store, &mut kept, 1, Change::Meta("n".into(), [1].as_slice().into()));
    turned(&mut store, &mut kept, 2, put(2, 2));
    wait_until("the trouble is known", || archive.status().trouble.is_some());
    for seq in 3..=20 {
        commit(&mut store, &mut kept, seq..=seq);
        store.maintain().unwrap();
    }
    failing.set(Rule::Never);
    wait_until("the trouble is over", || archive.status().trouble.is_none());
    drop((store, archive));
    check(&place, &kept);
}

/// A batch that was not acknowledged is in no archive, though its bytes may be in a journal.
#[test]
fn a_commit_that_failed_is_not_archived() {
    let place = Place::new("archive-failed-commit");
    let failing = Failing::new();
    let mut store = start(&failing.disk(), &place, &lazy()).unwrap();
    let (mut kept, mut model) = (Kept::new(), Model::default());
    commit(&mut store, &mut kept, 1..=20);
    (1..=20).for_each(|seq| model.apply(seq, &batch(seq)));
    failing.set(Rule::Always(Op::Sync, "journal"));
    store.commit(Seq(21), &batch(21)).unwrap_err();
    failing.set(Rule::Never);
    model.seq = 25;
    store.rebuild(&model.contents()).unwrap();
    commit(&mut store, &mut kept, 26..=40);
    drop(store);
    check(&place, &kept);
}

#[test]
fn whole_segments_go_when_there_are_too_many_bytes_or_they_are_too_old() {
    let place = Place::new("archive-retention");
    let options = ArchiveOptions { max_bytes: 20_000, ..archive(&place) };
    let open = || {
        let (disk, dir) = (Disk::default(), place.store());
        DiskStore::open_archived(disk, &dir, &eager(), options.clone(), false).unwrap().0
    };
    let mut store = open();
    for seq in 1..=600 {
        store.commit(Seq(seq), &batch(seq)).unwrap();
        store.maintain().unwrap();
    }
    drop(store);
    let segments = segment::list(&audit(&place)).unwrap();
    let bytes: u64 = segments.iter().map(|s| std::fs::metadata(&s.path).unwrap().len()).sum();
    assert!(segments[0].first > 1 && bytes <= 20_000 + 4096, "{bytes} bytes, {segments:?}");
    let mut reader = Forward::from(&audit(&place), 1);
    let first = reader.read().unwrap().unwrap();
    assert_eq!(first.number, segments[0].first);
    assert_eq!(reader.take_missed(), first.number - 1);

    let store = open();
    let archive = store.archive().unwrap();
    let next = archive.status().next;
    archive.prune(Timestamp::NEVER);
    wait_until("old records are gone", || {
        Backward::before(&audit(&place), None).read().unwrap().is_none()
    });
    drop(store);
    let mut store = open();
    store.commit(Seq(601), &batch(601)).unwrap();
    drop(store);
    let entry = Backward::before(&audit(&place), None).read().unwrap().unwrap();
    assert!(entry.number >= next, "numbers come twice: {} after {next}", entry.number);
}

/// A store from a backup goes on with smaller numbers of batches; the archive takes its records.
#[test]
fn a_store_that_was_set_back_is_archived_too() {
    let place = Place::new("archive-set-back");
    let mut store = start(&Disk::default(), &place, &eager()).unwrap();
    let mut kept = Kept::new();
    commit(&mut store, &mut kept, 1..=20);
    let (done, told) = std::sync::mpsc::channel();
    let backup = place.0.join("backup");
    store.backup(&backup, Box::new(move |result| done.send(result).unwrap()));
    wait_until("the backup", || {
        store.maintain().unwrap();
        told.try_recv().is_ok_and(|result| result.map(|()| true).unwrap())
    });
    let copied = Forward::from(&backup.join("audit"), kept.len() as u64).read().unwrap();
    assert_eq!(copied.map(|entry| (entry.seq, entry.change)), kept.last().cloned());
    commit(&mut store, &mut kept, 21..=50);
    drop(store);
    std::fs::remove_dir_all(place.store()).unwrap();
    std::fs::rename(&backup, place.store()).unwrap();

    let failing = Failing::new();
    let mut store = start(&failing.disk(), &place, &eager()).unwrap();
    let found = entries(&place);
    let Change::Act(noted) = &found.last().unwrap().change else { panic!("{found:?}") };
    assert_eq!((&*noted.verb, &*noted.object), ("restore", "store"));
    kept.push((20, found.last().unwrap().change.clone()));
    failing.set(Rule::Always(Op::Write, "segment-"));
    commit(&mut store, &mut kept, 21..=30);
    drop(store);
    drop(start(&Disk::default(), &place, &eager()).unwrap());
    check(&place, &kept);
}

/// A torn or damaged end is cut off, and what it held comes from the journal again.
#[test]
fn a_torn_end_is_brought_in_again() {
    let place = Place::new("archive-torn");
    let failing = Failing::new();
    let mut store = start(&failing.disk(), &place, &lazy()).unwrap();
    let mut kept = Kept::new();
    commit(&mut store, &mut kept, 1..=40);
    let watch = store.archive().unwrap().watch();
    let archive = store.archive().unwrap();
    wait_until("the archive has it", || {
        assert_eq!(archive.status().trouble, None);
        *watch.borrow() > kept.len() as u64
    });
    failing.set(Rule::DeadAfter(0));
    drop(store);
    let last = segment::list(&audit(&place)).unwrap().pop().unwrap();
    let length = std::fs::metadata(&last.path).unwrap().len();
    for cut in [1, 30, 100, length - 50, length - 10, length] {
        let file = std::fs::File::options().write(true).open(&last.path).unwrap();
        file.set_len(length - cut).unwrap();
        let copied = Place::new("archive-torn-copy");
        copy(&place.store(), &copied.store());
        copy(&audit(&place), &audit(&copied));
        drop(start(&Disk::default(), &copied, &lazy()).unwrap());
        check(&copied, &kept);
    }
}

#[test]
fn who_had_an_address_is_told_after_it_was_used_again() {
    let place = Place::new("archive-who");
    let mut store = start(&Disk::default(), &place, &eager()).unwrap();
    let network = NetworkId::of("test");
    let held = |client: u32, from: u64, until: u64| {
        let mut lease = lease(client, 0);
        lease.resource = Resource::V4([10, 0, 0, 7].into());
        (lease.since, lease.updated) = (Timestamp(from), Timestamp(from));
        lease.until = Timestamp(until);
        lease
    };
    let released = |lease: &Lease, at: u64| {
        let mut lease = lease.clone();
        lease.state = State::Released;
        (lease.updated, lease.until) = (Timestamp(at), Timestamp(at));
        lease
    };
    let (one, two) = (held(1, 1000, 9000), held(2, 3000, 9000));
    // One had it since before there was an archive.
    store.commit(Seq(1), &[Change::Put(one.clone(), Cause::Renewed)]).unwrap();
    store.commit(Seq(2), &[Change::Put(released(&one, 2000), Cause::Released)]).unwrap();
    store.commit(Seq(3), &[Change::Put(two.clone(), Cause::Granted)]).unwrap();
    for n in 0..200 {
        store.commit(Seq(4 + n), &[put(300 + n as u32, 5000)]).unwrap();
    }
    drop(store);
    let ask = |at: u64| {
        let found = who(&audit(&place), one.resource, &[network], Timestamp(at), &[]).unwrap();
        let [holding] = found.as_slice() else { panic!("{found:?}") };
        holding.is_held().then(|| holding.lease.as_ref().unwrap().client.clone())
    };
    assert_eq!(ask(500), None);
    assert_eq!(ask(1500), Some(one.client.clone()));
    assert_eq!(ask(2500), None);
    assert_eq!(ask(3000), Some(two.client.clone()));
    assert_eq!(ask(8000), Some(two.client.clone()));
    let never = Resource::V4([10, 0, 0, 9].into());
    let nobody = who(&audit(&place), never, &[network], Timestamp(1), &[]).unwrap();
    assert!(!nobody[0].is_held());
    let mut present = two.clone();
    present.resource = never;
    let since = who(&audit(&place), never, &[network], Timestamp(3500), &[present]).unwrap();
    assert_eq!(since[0].lease.as_ref().map(|l| &l.client), Some(&two.client));
}
