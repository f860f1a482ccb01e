//! Batches that follow from their number alone, and what a store must hold after them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Span, Timestamp};
use foreshadow::lease::{Act, Cause, Change, Details, Lease, Seq, State};
use foreshadow::store::{Contents, DiskStore, Store, StoreError, StoreOptions};

/// Addresses in use: few, so that later batches overwrite earlier ones.
const ADDRESSES: u64 = 2_000;
/// How many batches lie between rebuilds.
const REBUILD_EVERY: u64 = 250;

/// Small journals, frequent checkpoints and a cache that they outgrow, so that a second sees many
/// turns, merges and rewrites.
fn options() -> StoreOptions {
    StoreOptions {
        journal_bytes: 256 << 10,
        checkpoint_every: Span::from_ms(20),
        cache_bytes: 64 << 10,
    }
}

/// Commits batches for ever, or until `acknowledge` of a durable one fails.
pub(crate) fn write(
    dir: &Path,
    mut acknowledge: impl FnMut(u64) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let (mut store, contents, _) = DiskStore::open(dir, &options(), false)?;
    let mut model = Model::of(contents);
    loop {
        let n = model.seq + 1;
        let changes = batch(n);
        store.commit(Seq(n), &changes)?;
        model.apply(n, changes);
        if acknowledge(n).is_err() {
            return Ok(());
        }
        store.maintain()?;
        if n.is_multiple_of(REBUILD_EVERY) {
            store.rebuild(&model.to_contents())?;
        }
    }
}

/// Opens what is left in `dir`, whose last acknowledged batch is `acked`; `base` holds the batches
/// up to that or an earlier one. The inner error says what was lost or torn.
pub(crate) fn verify(
    base: &Model,
    dir: &Path,
    acked: u64,
) -> Result<Result<u64, String>, StoreError> {
    let (store, contents, recovery) = DiskStore::open(dir, &options(), false)?;
    drop(store);
    let found = Model::of(contents);
    if found.seq < acked {
        return Ok(Err(format!("acknowledged {acked}, found {} ({recovery:?})", found.seq)));
    }
    let mut want = base.clone();
    want.advance(found.seq);
    if found != want {
        return Ok(Err(format!("batch {} is not whole ({recovery:?})", found.seq)));
    }
    Ok(Ok(found.seq))
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
    let count = if n.is_multiple_of(50) { 300 } else { 1 + random(20) };
    let mut changes: Vec<Change> = (0..count).map(|_| change(n, &mut random)).collect();
    changes.push(Change::Meta("last".into(), n.to_le_bytes().as_slice().into()));
    changes.push(match n % 3 {
        0 => Change::Meta(format!("n{}", n % 40).into(), n.to_le_bytes().as_slice().into()),
        1 => Change::Forget(format!("n{}", random(40)).into()),
        _ => Change::Act(Box::new(act(n))),
    });
    changes
}

fn act(n: u64) -> Act {
    let (at, who, verb, object) = (Timestamp(n), "root".into(), "change".into(), "n".into());
    let after = Some(format!("{{\"n\":{n}}}").into());
    Act { at, who, verb, object, account: None, before: None, after }
}

fn change(n: u64, random: &mut impl FnMut(u64) -> u64) -> Change {
    let network = NetworkId::of("cut");
    let resource = Resource::V4(Ipv4Addr::from_bits(0x0a00_0000 + random(ADDRESSES) as u32));
    if random(20) == 0 {
        let lifted = (random(2) == 0).then_some(Timestamp(n));
        return Change::Remove(network, resource, lifted);
    }
    let mac = Mac([0x52, 0x54, 0, random(256) as u8, random(256) as u8, random(256) as u8]);
    let hw = HwAddr::ethernet(mac);
    let details = Details {
        hostname: (random(3) > 0)
            .then(|| format!("vm-{n}-{}", "x".repeat(random(60) as usize)).into()),
        circuit_id: (random(4) == 0).then(|| vec![n as u8; random(255) as usize].into()),
        ..Details::default()
    };
    let cause = [Cause::Renewed, Cause::Granted, Cause::Imported(Timestamp(n))][random(3) as usize];
    let lease = Lease {
        network,
        resource,
        client: ClientKey::hardware(&hw),
        hw,
        state: if random(10) == 0 { State::Released } else { State::Leased },
        since: Timestamp(n),
        updated: Timestamp(n + random(1000)),
        port: None,
        uses: Default::default(),
        until: Timestamp(n + 86_400_000),
        details: Arc::new(details),
    };
    Change::Put(lease, cause)
}

/// What a store must hold.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Model {
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

    /// Takes in the batches up to `n`.
    pub(crate) fn advance(&mut self, n: u64) {
        for n in self.seq + 1..=n {
            self.apply(n, batch(n));
        }
    }

    fn apply(&mut self, n: u64, changes: Vec<Change>) {
        self.seq = n;
        for change in changes {
            match change {
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

    fn to_contents(&self) -> Contents {
        let leases = self.leases.values().cloned().collect();
        Contents { leases, meta: self.meta.clone(), seq: Seq(self.seq) }
    }
}
