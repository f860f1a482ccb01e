//! A store that is killed and looked at: `store_cut write DIR` commits batches for ever and writes
//! the number of each durable one to standard output, eight bytes, little endian, one write call.
//! `store_cut verify DIR ACKED` opens what is left: it must hold whole batches only, and all of
//! them up to ACKED. Exit status 0: so it is; 3: something is lost or torn; else: it does not open.
//!
//! What batch n holds follows from n alone, so that the verifier knows what must be there.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Span, Timestamp};
use foreshadow::lease::{Change, Details, Lease, Seq, State};
use foreshadow::store::{Contents, DiskStore, Store, StoreOptions};

/// Addresses in use: few, so that later batches overwrite earlier ones.
const ADDRESSES: u64 = 2_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", dir] => write(Path::new(dir)),
        ["verify", dir, acked] => verify(Path::new(dir), acked.parse().unwrap_or(u64::MAX)),
        _ => Err("usage: store_cut write DIR | verify DIR ACKED".into()),
    };
    match outcome {
        Ok(code) => code,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "store_cut: {e}");
            ExitCode::from(2)
        }
    }
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// Small journals and frequent checkpoints, so that a second sees many of each.
fn options() -> StoreOptions {
    StoreOptions {
        journal_bytes: 256 << 10,
        checkpoint_every: Span::from_ms(20),
        ..StoreOptions::default()
    }
}

fn write(dir: &Path) -> Outcome {
    let (mut store, contents, _) = DiskStore::open(dir, &options(), false)?;
    let mut contents = Model::of(contents);
    loop {
        let n = contents.seq + 1;
        let changes = batch(n);
        store.commit(Seq(n), &changes)?;
        contents.apply(n, changes);
        std::io::stdout().write_all(&n.to_le_bytes())?;
        std::io::stdout().flush()?;
        store.maintain()?;
        if n % 400 == 0 {
            store.rebuild(&contents.to_contents())?;
        }
    }
}

fn verify(dir: &Path, acked: u64) -> Outcome {
    let (store, contents, recovery) = DiskStore::open(dir, &options(), false)?;
    drop(store);
    let found = Model::of(contents);
    let mut want = Model::default();
    for n in 1..=found.seq {
        want.apply(n, batch(n));
    }
    let mut say = std::io::stderr();
    if found.seq < acked {
        writeln!(say, "acknowledged {acked}, found {} ({recovery:?})", found.seq)?;
        return Ok(ExitCode::from(3));
    }
    if found.leases != want.leases || found.meta != want.meta {
        writeln!(say, "batch {} is not whole ({recovery:?})", found.seq)?;
        return Ok(ExitCode::from(3));
    }
    Ok(ExitCode::SUCCESS)
}

/// The facts of batch `n`, from a generator that begins at `n`.
fn batch(n: u64) -> Vec<Change> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let count = if n % 50 == 0 { 300 } else { 1 + random(20) };
    let mut changes: Vec<Change> = (0..count).map(|_| change(n, &mut random)).collect();
    changes.push(Change::Meta("last".into(), n.to_le_bytes().as_slice().into()));
    changes
}

fn change(n: u64, random: &mut impl FnMut(u64) -> u64) -> Change {
    let network = NetworkId::of("cut");
    let resource = Resource::V4(Ipv4Addr::from_bits(0x0a00_0000 + random(ADDRESSES) as u32));
    if random(20) == 0 {
        return Change::Remove(network, resource);
    }
    let mac = Mac([0x52, 0x54, 0, random(256) as u8, random(256) as u8, random(256) as u8]);
    let hw = HwAddr::ethernet(mac);
    let details = Details {
        hostname: (random(3) > 0)
            .then(|| format!("vm-{n}-{}", "x".repeat(random(60) as usize)).into()),
        circuit_id: (random(4) == 0).then(|| vec![n as u8; random(255) as usize].into()),
        ..Details::default()
    };
    Change::Put(Lease {
        network,
        resource,
        client: ClientKey::hardware(&hw),
        hw,
        state: if random(10) == 0 { State::Released } else { State::Leased },
        since: Timestamp(n),
        updated: Timestamp(n + random(1000)),
        until: Timestamp(n + 86_400_000),
        port: None,
        details: Arc::new(details),
    })
}

/// What a store must hold.
#[derive(Default)]
struct Model {
    leases: BTreeMap<(NetworkId, Resource), Lease>,
    meta: BTreeMap<Box<str>, Box<[u8]>>,
    seq: u64,
}

impl Model {
    fn of(contents: Contents) -> Model {
        let Contents { leases, meta, seq } = contents;
        let leases = leases.into_iter().map(|lease| ((lease.network, lease.resource), lease));
        Model { leases: leases.collect(), meta, seq: seq.0 }
    }

    fn apply(&mut self, n: u64, changes: Vec<Change>) {
        self.seq = n;
        for change in changes {
            match change {
                Change::Put(lease) => {
                    self.leases.insert((lease.network, lease.resource), lease);
                }
                Change::Remove(network, resource) => {
                    self.leases.remove(&(network, resource));
                }
                Change::Meta(name, value) => {
                    self.meta.insert(name, value);
                }
            }
        }
    }

    fn to_contents(&self) -> Contents {
        let leases = self.leases.values().cloned().collect();
        Contents { leases, meta: self.meta.clone(), seq: Seq(self.seq) }
    }
}
