//! What the tests of the store on disk share: a place, facts, a model, a disk that fails.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Span, Timestamp};
use foreshadow::lease::{Act, Cause, Change, Details, Lease, Seq, State};
use foreshadow::store::disk::{Disk, Fault, Hook, Op};
use foreshadow::store::{Contents, DiskStore, Recovery, Store, StoreError, StoreOptions};

/// A directory of one test's own, removed unless the test fails.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        let dir = format!("store-{name}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(dir);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A checkpoint only when a journal is full.
pub(crate) fn lazy() -> StoreOptions {
    let checkpoint_every = Span::from_secs(3600);
    StoreOptions { journal_bytes: 1 << 20, checkpoint_every, cache_bytes: 1 << 20 }
}

/// A checkpoint whenever the last one is done.
pub(crate) fn eager() -> StoreOptions {
    StoreOptions { checkpoint_every: Span::ZERO, ..lazy() }
}

pub(crate) fn open(dir: &Path, options: &StoreOptions) -> (DiskStore, Contents) {
    let (store, contents, recovery) = DiskStore::open(dir, options, false).unwrap();
    assert!(recovery.lost.is_empty() && recovery.kept.is_none());
    (store, contents)
}

/// What the store in `dir` holds.
pub(crate) fn reopened(dir: &Path) -> Model {
    Model::of(&open(dir, &lazy()).1)
}

pub(crate) fn open_on(
    disk: &Disk,
    dir: &Path,
) -> Result<(DiskStore, Contents, Recovery), StoreError> {
    DiskStore::open_on(disk.clone(), dir, &lazy(), false)
}

pub(crate) fn lease(host: u32, version: u64) -> Lease {
    let mac = Mac([2, 0, 0, 0, (host >> 8) as u8, host as u8]);
    let hw = HwAddr::ethernet(mac);
    Lease {
        network: NetworkId::of("test"),
        resource: Resource::V4(Ipv4Addr::from_bits(0x0a00_0000 + host)),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(1_700_000_000_000),
        updated: Timestamp(1_700_000_000_000 + version),
        until: Timestamp(1_700_000_060_000 + version),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details {
            hostname: Some(format!("vm-{host}").into()),
            ..Details::default()
        }),
    }
}

pub(crate) fn put(host: u32, version: u64) -> Change {
    Change::Put(lease(host, version), Cause::Granted)
}

/// What somebody did, for the archive alone.
pub(crate) fn act(n: u64) -> Change {
    let (who, verb, object) = ("root".into(), "change".into(), format!("thing/{n}").into());
    let (at, account, before) = (Timestamp(n), None, None);
    Change::Act(Box::new(Act { at, who, verb, object, account, before, after: None }))
}

/// Commits batches `seqs`, three leases each, and notes them in `model`.
pub(crate) fn commit_some(
    store: &mut DiskStore,
    model: &mut Model,
    seqs: impl Iterator<Item = u64>,
) {
    for seq in seqs {
        let changes = [0, 1, 100].map(|step| put((seq * 7 + step) as u32 % 500, seq));
        store.commit(Seq(seq), &changes).unwrap();
        model.apply(seq, &changes);
    }
}

/// Runs maintenance until one more checkpoint is done, or it fails.
pub(crate) fn checkpoint(store: &mut DiskStore) -> Result<(), StoreError> {
    let before = store.stats().checkpoints;
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.stats().checkpoints == before {
        store.maintain()?;
        assert!(Instant::now() < deadline, "no checkpoint within a minute");
        std::thread::yield_now();
    }
    Ok(())
}

/// A copy of all files.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { std::fs::copy(&path, &to).map(drop).unwrap() }
    }
}

/// What a store must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) leases: BTreeMap<(NetworkId, Resource), Lease>,
    pub(crate) meta: BTreeMap<Box<str>, Box<[u8]>>,
    pub(crate) seq: u64,
}

impl Model {
    pub(crate) fn of(contents: &Contents) -> Model {
        let leases = contents.leases.iter().cloned();
        let map: BTreeMap<_, _> = leases.map(|l| ((l.network, l.resource), l)).collect();
        assert_eq!(map.len(), contents.leases.len(), "a lease came twice");
        Model { leases: map, meta: contents.meta.clone(), seq: contents.seq.0 }
    }

    pub(crate) fn apply(&mut self, seq: u64, changes: &[Change]) {
        self.seq = seq;
        for change in changes {
            match change.clone() {
                Change::Put(lease, _) => {
                    self.leases.insert((lease.network, lease.resource), lease);
                }
                Change::Remove(network, resource, _) => {
                    self.leases.remove(&(network, resource));
                }
                Change::Meta(name, value) => {
                    self.meta.insert(name, value);
                }
                Change::Forget(name) => drop(self.meta.remove(&name)),
                Change::Act(_) => {}
            }
        }
    }

    pub(crate) fn contents(&self) -> Contents {
        let leases = self.leases.values().cloned().collect();
        Contents { leases, meta: self.meta.clone(), seq: Seq(self.seq) }
    }
}

/// Which operations of a disk fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// None.
    Never,
    /// All after so many: the process is as good as dead.
    DeadAfter(usize),
    /// The one after so many.
    Once(usize),
    /// All of one kind, on files whose path contains this.
    Always(Op, &'static str),
    /// Every write, after so many bytes of it.
    Torn(usize),
}

/// A disk that fails by rule, and counts.
pub(crate) struct Failing {
    rule: Mutex<Rule>,
    count: AtomicUsize,
    error: i32,
}

impl Failing {
    /// Fails with EIO.
    pub(crate) fn new() -> Arc<Failing> {
        Failing::with(5)
    }

    /// Fails with this error number.
    pub(crate) fn with(error: i32) -> Arc<Failing> {
        Arc::new(Failing { rule: Mutex::new(Rule::Never), count: AtomicUsize::new(0), error })
    }

    pub(crate) fn disk(self: &Arc<Failing>) -> Disk {
        Disk::with_hook(Arc::clone(self) as Arc<dyn Hook>)
    }

    /// Sets the rule and counts anew.
    pub(crate) fn set(&self, rule: Rule) {
        *self.rule.lock().unwrap() = rule;
        self.count.store(0, Ordering::SeqCst);
    }

    /// Operations since the rule was set.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Hook for Failing {
    fn before(&self, op: Op, path: &Path) -> Option<Fault> {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        let fails = match *self.rule.lock().unwrap() {
            Rule::Never => false,
            Rule::DeadAfter(after) => n >= after,
            Rule::Once(at) => n == at,
            Rule::Always(kind, part) => op == kind && path.to_string_lossy().contains(part),
            Rule::Torn(bytes) if op == Op::Write => return Some(Fault::Tear(bytes)),
            Rule::Torn(_) => false,
        };
        fails.then(|| Fault::Refuse(std::io::Error::from_raw_os_error(self.error)))
    }
}
