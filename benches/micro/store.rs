//! Records, and batches of them on the disk that BENCH_DIR is on.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use foreshadow::base::{ClientKey, HwAddr, NetworkId, Resource, Timestamp};
use foreshadow::lease::{Cause, Change, Details, Lease, Seq, State};
use foreshadow::store::{DiskStore, Store, StoreOptions, record};

use crate::messages::mac;

/// Leases that are written again and again, in an order that jumps about.
const LEASES: u64 = 100_000;
const NOW: u64 = 1_763_800_000_000;

/// Write `i`: of a lease with a host name.
fn change(i: u64) -> Change {
    let host = (i.wrapping_mul(0x9e37_79b1) % LEASES) as u32;
    let hw = HwAddr::ethernet(mac(host));
    let lease = Lease {
        network: NetworkId::of("bench"),
        resource: Resource::V4(Ipv4Addr::from_bits(0x0a00_0000 + host)),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(NOW),
        updated: Timestamp(NOW + i),
        until: Timestamp(NOW + i + 3_600_000),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details {
            hostname: Some(format!("vm-{host}").into()),
            ..Details::default()
        }),
    };
    Change::Put(lease, Cause::Renewed)
}

#[divan::bench]
fn record_encode(bencher: Bencher<'_, '_>) {
    let (change, mut out) = (change(1), Vec::with_capacity(256));
    bencher.bench_local(|| {
        out.clear();
        record::encode(black_box(&change), &mut out).expect("a record");
    });
}

#[divan::bench]
fn record_decode(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    record::encode(&change(1), &mut bytes).expect("a record");
    bencher.bench(|| record::decode(black_box(&bytes)).expect("a fact"));
}

/// A batch of so many leases, durable; checkpoints go on beside it.
#[divan::bench(args = [1, 16, 64, 256], sample_size = 1, sample_count = 500)]
fn journal_append(bencher: Bencher<'_, '_>, batch: u64) {
    let place = Place::new();
    let (mut store, ..) =
        DiskStore::open(&place.0, &StoreOptions::default(), false).expect("a store");
    let (mut seq, mut next) = (0, 0);
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| {
            next += batch;
            (next - batch..next).map(change).collect::<Vec<_>>()
        })
        .bench_local_refs(|changes| {
            seq += 1;
            store.commit(Seq(seq), changes).expect("a durable batch");
            store.maintain().expect("a checkpoint");
        });
}

/// Opening a store with a hundred thousand leases.
#[divan::bench(sample_size = 1, sample_count = 5)]
fn open(bencher: Bencher<'_, '_>) {
    let (place, options) = (Place::new(), StoreOptions::default());
    let (mut store, ..) = DiskStore::open(&place.0, &options, false).expect("a store");
    for seq in 1..=LEASES / 100 {
        let changes: Vec<Change> = (seq * 100..seq * 100 + 100).map(change).collect();
        store.commit(Seq(seq), &changes).expect("a durable batch");
        store.maintain().expect("a checkpoint");
    }
    drop(store);
    bencher.counter(ItemsCount::new(LEASES)).bench_local(|| {
        DiskStore::open(&place.0, &options, false).expect("a store").1.leases.len()
    });
}

/// A directory on the disk, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let dir = std::env::var_os("BENCH_DIR").unwrap_or("/var/tmp".into());
        let dir = PathBuf::from(dir).join(format!("foreshadow-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        Place(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
