//! How fast the store is here: `store_speed DIR LEASES [BATCH]` commits so many leases in random
//! order, then renews them all, and says what it took. DIR must be on the disk that is meant.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Timestamp};
use foreshadow::lease::{Change, Details, Lease, Seq, State};
use foreshadow::store::{DiskStore, Store, StoreOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, leases, rest @ ..] = args.as_slice() else {
        return Err("usage: store_speed DIR LEASES [BATCH]".into());
    };
    let (leases, batch) = (leases.parse()?, rest.first().map_or(Ok(256), |b| b.parse())?);
    let options = StoreOptions::default();
    let mut out = std::io::stdout();
    let (mut store, contents, _) = DiskStore::open(Path::new(dir), &options, false)?;
    let mut seq = contents.seq.0;
    drop(contents);
    for (round, name) in [(1u64, "new"), (2, "renewed")] {
        let (wall, cpu, own) = (Instant::now(), cpu_ms("self"), cpu_ms("thread-self"));
        let mut slowest = 0;
        for start in (0..leases).step_by(batch as usize) {
            let changes: Vec<Change> =
                (start..leases.min(start + batch)).map(|i| change(i, leases, round)).collect();
            seq += 1;
            let begun = Instant::now();
            store.commit(Seq(seq), &changes)?;
            store.maintain()?;
            slowest = slowest.max(begun.elapsed().as_micros());
        }
        let wall = wall.elapsed().as_secs_f64();
        let each = |ms: f64| ms * 1000.0 / leases as f64;
        writeln!(
            out,
            "{name}: {:.0} leases/s, {:.1} us CPU a lease, {:.1} us of it on the commit path; \
             slowest batch {slowest} us; {} checkpoints; {} MB on disk, {} MB resident",
            leases as f64 / wall,
            each(cpu_ms("self") - cpu),
            each(cpu_ms("thread-self") - own),
            store.stats().checkpoints,
            store.stats().disk_bytes >> 20,
            resident_mb(),
        )?;
    }
    drop(store);
    let begun = Instant::now();
    let (_store, contents, _) = DiskStore::open(Path::new(dir), &options, false)?;
    let found = contents.leases.len();
    writeln!(
        out,
        "opened {found} leases in {} ms, {} MB resident",
        begun.elapsed().as_millis(),
        resident_mb()
    )?;
    Ok(())
}

/// Lease `i` of `leases`, each address once, in an order that jumps about.
fn change(i: u64, leases: u64, round: u64) -> Change {
    let host = i.wrapping_mul(0x9e37_79b1) % leases.next_power_of_two();
    let bytes = host.to_be_bytes();
    let mac = Mac([0x52, 0x54, bytes[4], bytes[5], bytes[6], bytes[7]]);
    let hw = HwAddr::ethernet(mac);
    let now = 1_763_800_000_000 + round * 1_000_000 + i;
    Change::Put(Lease {
        network: NetworkId::of("speed"),
        resource: Resource::V4(Ipv4Addr::from_bits(0x0a00_0000 + host as u32)),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(now),
        updated: Timestamp(now),
        until: Timestamp(now + 3_600_000),
        port: None,
        details: Arc::new(Details {
            hostname: Some(format!("vm-{host}").into()),
            ..Details::default()
        }),
    })
}

/// User and system time of a process or thread so far, in milliseconds.
fn cpu_ms(who: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{who}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() * 10.0
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|p| p.parse::<u64>().ok());
    (pages.unwrap_or(0) * 4096) >> 20
}
