//! A store's directory with damage done to CURRENT and to the journals: it opens with a state that
//! it was in once, or says what is wrong; and with `--recover` it holds nothing that was never
//! written.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Span, Timestamp};
use foreshadow::lease::{Cause, Change, Details, Lease, Seq, State};
use foreshadow::store::{Contents, DiskStore, Store, StoreError, StoreOptions, open_copy};

use super::damage::{self, Damage};

const BATCHES: u64 = 12;
/// The batch that the checkpoint ends with.
const CHECKPOINT: u64 = 5;
const FILES: [&str; 3] = ["CURRENT", "journal-1.a", "journal-1.b"];

/// What a store holds after a batch.
type Held = BTreeMap<Resource, Lease>;

/// A store as its server left it, and all states that it was in.
struct Template {
    dir: PathBuf,
    files: [Vec<u8>; 3],
    states: Vec<Held>,
}

/// Plays one input.
pub fn run(data: &[u8]) {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::new);
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    TEMPLATE.play(*first, &damage::read(rest));
}

/// A directory of this process for what a target writes.
pub(crate) fn scratch(target: &str) -> PathBuf {
    let place = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let name = format!("foreshadow-fuzz-{target}-");
    // What earlier processes left: a static is never dropped, and a fault ends its process.
    for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
        let left =
            entry.file_name().to_str().and_then(|left| left.strip_prefix(&name)?.parse().ok());
        if left.is_some_and(|pid: u32| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = place.join(format!("{name}{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a temporary directory");
    dir
}

impl Template {
    fn new() -> Template {
        let dir = scratch("store").join("store");
        let checkpoint_every = Span::from_secs(3600);
        let options =
            StoreOptions { journal_bytes: 1 << 20, checkpoint_every, cache_bytes: 1 << 20 };
        let mut states = vec![Held::new()];
        for seqs in [1..=CHECKPOINT, CHECKPOINT + 1..=BATCHES] {
            // A start moves what the journals hold to the checkpoint.
            let (mut store, _, _) = DiskStore::open(&dir, &options, false).expect("a store");
            for seq in seqs {
                let leases = [seq % 4, seq % 3 + 8].map(|host| lease(host as u8, seq));
                let mut held = states.last().cloned().unwrap_or_default();
                held.extend(leases.iter().map(|lease| (lease.resource, lease.clone())));
                states.push(held);
                store
                    .commit(Seq(seq), &leases.map(|lease| Change::Put(lease, Cause::Granted)))
                    .expect("committed");
            }
        }
        let files = FILES.map(|name| fs::read(dir.join(name)).expect("the store's file"));
        Template { dir, files, states }
    }

    fn play(&self, kind: u8, damage: &[Damage]) {
        let mut files = self.files.clone();
        for one in damage {
            let file = usize::from(one.file) % FILES.len();
            one.apply(&mut files[file]);
        }
        if kind & 1 != 0 {
            seal(&mut files[0]);
        }
        if kind & 2 != 0 {
            files[usize::from(kind / 4) % 3].clear();
        }
        for (name, bytes) in FILES.iter().zip(&files) {
            fs::write(self.dir.join(name), bytes).expect("written");
        }
        if kind & 0x80 != 0 {
            fs::remove_file(self.dir.join(FILES[usize::from(kind / 4) % 3])).expect("removed");
        }
        self.check(&self.dir, files == self.files && kind & 0x80 == 0);
    }

    fn check(&self, dir: &Path, is_whole: bool) {
        match open_copy(dir, false) {
            Ok((contents, told)) => {
                assert!(told.lost.is_empty(), "{told:?}");
                assert_eq!(self.states.get(contents.seq.0 as usize), Some(&held(&contents)));
                assert!(contents.seq.0 == BATCHES || !is_whole && contents.seq.0 >= CHECKPOINT);
            }
            Err(error) => assert!(!is_whole && is_told(&error), "{error}"),
        }
        match open_copy(dir, true) {
            Ok((contents, _)) => {
                for (at, lease) in held(&contents) {
                    let was = |state: &Held| state.get(&at) == Some(&lease);
                    assert!(self.states.iter().any(was), "{lease:?} was never written");
                }
            }
            Err(error) => assert!(is_told(&error), "{error}"),
        }
    }
}

/// Whether an error is about what the files hold.
fn is_told(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        StoreError::Damaged { .. } | StoreError::Newer { .. } | StoreError::Checkpoint { .. } => {
            true
        }
        _ => false,
    }
}

fn held(contents: &Contents) -> Held {
    contents.leases.iter().map(|lease| (lease.resource, lease.clone())).collect()
}

/// Makes the checksum of CURRENT fit what stands before it.
fn seal(current: &mut Vec<u8>) {
    let end = current.windows(4).rposition(|four| four == b"crc ").unwrap_or(current.len());
    current.truncate(end);
    let crc = crc32c::crc32c(current);
    current.extend(format!("crc {crc:08x}\n").into_bytes());
}

fn lease(host: u8, seq: u64) -> Lease {
    let hw = HwAddr::ethernet(Mac([2, 0, 0, 0, 0, host]));
    Lease {
        network: NetworkId::of("fuzz"),
        resource: Ipv4Addr::new(10, 0, 0, host).into(),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(1_700_000_000_000),
        updated: Timestamp(1_700_000_000_000 + seq),
        until: Timestamp(1_700_000_060_000 + seq),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details::default()),
    }
}
