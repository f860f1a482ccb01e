//! How the committed corpora are made: from the packets, examples and lease files of the other
//! tests, by our own writers, and by hand (`inputs.txt`).

use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::Arc;

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Timestamp};
use foreshadow::config::policy::Tier;
use foreshadow::lease::{
    Act, Cause, Change, Details, Drain, Foreseen, Foreseer, Lease, Mover, NextHop,
    QuarantineReason, State,
};
use foreshadow::store::record::encode;

/// Target, name, bytes.
pub(crate) type Seed = (String, String, Vec<u8>);

/// The longest text that is taken over, in bytes.
const TEXT_MAX: usize = 4096;
/// A file of a fault is taken if it is this short.
const BAD_MAX: usize = 400;

/// All inputs that were made, not found.
pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = by_hand();
    seeds.extend(packets());
    seeds.extend(texts());
    seeds.extend(named("record", records()));
    seeds.extend(named("relay_v6", relays()));
    seeds.extend(named("journal", journals()));
    seeds.extend(named("store", stores()));
    seeds.extend(named("api", requests()));
    seeds.extend(named("forecast", forecasts()));
    seeds
}

fn named(target: &str, inputs: Vec<(&str, Vec<u8>)>) -> Vec<Seed> {
    inputs.into_iter().map(|(name, bytes)| (target.into(), name.into(), bytes)).collect()
}

fn by_hand() -> Vec<Seed> {
    let lines = include_str!("inputs.txt").lines().filter(|line| !line.starts_with('#'));
    let seed = |line: &str| {
        let (place, hex) = line.split_once(' ').expect("a place and bytes");
        let (target, name) = place.split_once('/').expect("target/name");
        (target.into(), name.into(), bytes(hex))
    };
    lines.map(seed).collect()
}

/// Pairs of digits, `00*64` for many, `#` and what follows for readers.
fn bytes(hex: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for token in hex.lines().flat_map(|line| line.split('#').next()).flat_map(str::split_whitespace)
    {
        let (digits, times) = token.split_once('*').unwrap_or((token, "1"));
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let piece: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        out.extend(piece.repeat(times.parse().unwrap()));
    }
    out
}

/// Files below `dir` with this extension: stem and text, in order.
fn files(dir: &str, extension: &str) -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> =
        wanted.map(|path| (stem(&path), std::fs::read_to_string(&path).unwrap())).collect();
    files.sort();
    files
}

fn packets() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (dir, wire, engine) in
        [("tests/packets", "wire_v4", "engine_v4"), ("tests/packets/v6", "wire_v6", "engine_v6")]
    {
        for (name, text) in files(dir, "hex") {
            let packet = bytes(text.split_once("---\n").unwrap().0);
            if !name.starts_with("hostile") {
                seeds.push((engine.into(), name.clone(), packet.clone()));
            }
            seeds.push((wire.into(), name, packet));
        }
    }
    seeds
}

fn texts() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, text) in files("config", "toml") {
        seeds.push(("config".into(), name, text.into()));
    }
    for (name, text) in files("tests/config/bad", "toml") {
        if text.len() <= BAD_MAX {
            seeds.push(("config".into(), name, text.into()));
        }
    }
    for extension in ["leases", "csv"] {
        for (name, text) in files("tests/import", extension) {
            let text = text.as_bytes();
            seeds.push(("import".into(), name, text[..text.len().min(TEXT_MAX)].to_vec()));
        }
    }
    seeds
}

fn lease(resource: &str, client: ClientKey, state: State, details: Details) -> Change {
    put(Lease {
        network: NetworkId::of("lab"),
        resource: resource.parse().unwrap(),
        client,
        hw: HwAddr::ethernet(Mac([0x52, 0x54, 0, 0, 0, 1])),
        state,
        since: Timestamp(1_700_000_000_000),
        updated: Timestamp(1_700_000_001_000),
        until: Timestamp(1_700_003_600_000),
        port: None,
        uses: Default::default(),
        details: Arc::new(details),
    })
}

fn put(lease: Lease) -> Change {
    Change::Put(lease, Cause::Renewed)
}

fn because(cause: Cause) -> Change {
    let client = ClientKey::client_id(b"\x01id");
    match lease("10.0.0.9", client, State::Leased, Details::default()) {
        Change::Put(lease, _) => Change::Put(lease, cause),
        other => other,
    }
}

fn act() -> Change {
    Change::Act(Box::new(Act {
        at: Timestamp(1_700_000_000_000),
        who: "root".into(),
        verb: "delete".into(),
        object: "instances/i-1".into(),
        account: Some("acme".into()),
        before: Some("{}".into()),
        after: None,
    }))
}

/// Records without their checksum, which the target adds, and whole ones in a block.
fn records() -> Vec<(&'static str, Vec<u8>)> {
    let hw = HwAddr::ethernet(Mac([0x52, 0x54, 0, 0, 0, 1]));
    let all = Details {
        hostname: Some("vm-1".into()),
        account: Some("acme".into()),
        application: Some("web".into()),
        instance: Some("vm-1".into()),
        circuit_id: Some(b"eth0/1".as_slice().into()),
        remote_id: Some(b"host-1".as_slice().into()),
        relay: Some([10, 0, 0, 1].into()),
        boot_stage: true,
        next_hop: Some(NextHop { addr: Ipv6Addr::LOCALHOST, link: Some("br0".into()) }),
        tier: Some(Tier::Warm),
        draining: Some(Drain { since: Timestamp(1_700_000_000_000), by: Mover::Operator }),
        wakes: true,
        foreseen: Some(Box::new(Foreseen {
            by: Foreseer::Prediction,
            prediction: Some("p-7".into()),
            instance_type: Some("small".into()),
        })),
    };
    let facts = [
        ("put", lease("10.0.0.9", ClientKey::hardware(&hw), State::Leased, Details::default())),
        (
            "put_shadow",
            lease("10.0.0.8", ClientKey::shadow([10, 0, 0, 8].into()), State::Shadow, all.clone()),
        ),
        ("put_all", lease("10.0.0.9", ClientKey::client_id(b"\x01id"), State::Expired, all)),
        (
            "put_in_use",
            lease(
                "2001:db8::9",
                ClientKey::ia(&[0, 3, 0, 1, 9], 1),
                State::Quarantined(QuarantineReason::InUse(Mac([2; 6]))),
                Details::default(),
            ),
        ),
        (
            "put_prefix",
            lease(
                "2001:db8:aa00::/56",
                ClientKey::ia_pd(&[0, 3, 0, 1, 9], 1),
                State::Released,
                Details::default(),
            ),
        ),
        ("remove", Change::Remove(NetworkId(7), Resource::V4([10, 0, 0, 9].into()), None)),
        (
            "remove_lifted",
            Change::Remove(NetworkId(7), Resource::V4([10, 0, 0, 9].into()), Some(Timestamp(9))),
        ),
        ("forget", Change::Forget("instance/i-1".into())),
        ("act", act()),
        ("put_granted", because(Cause::Granted)),
        ("put_imported", because(Cause::Imported(Timestamp(1_700_000_000_000)))),
        ("meta", Change::Meta("duid".into(), [0, 4, 1, 2, 3].as_slice().into())),
    ];
    let mut seeds = Vec::new();
    let mut block = b"fsB\xb1\0\0\0\0\x01\0".to_vec();
    block.extend(7u64.to_le_bytes());
    block.extend(b"\x03mx\0");
    for (index, (name, fact)) in facts.iter().enumerate() {
        let mut record = Vec::new();
        encode(fact, &mut record).unwrap();
        block.extend([index as u8, record.len() as u8]);
        block.extend(&record);
        record.truncate(record.len() - 4);
        seeds.push((*name, record));
    }
    seeds.push(("two_blocks", [&block[..], &block].concat()));
    seeds.push(("block", block));
    seeds
}

fn relays() -> Vec<(&'static str, Vec<u8>)> {
    let solicit = bytes("01 abcdef 0001 000a 00030001020000000001 0008 0002 0000");
    let with = |head: &[u8]| [head, &solicit].concat();
    vec![
        ("none", with(&[0])),
        ("one", with(&[1, 18, 0])),
        ("nine", with(&[9, 18, 0, 37, 1, 79, 2, 18, 3, 18, 4, 9, 5, 38, 6, 18, 7, 18, 8])),
        ("ten", with(&[10, 18, 0, 18, 1, 18, 2, 18, 3, 18, 4, 18, 5, 18, 6, 18, 7, 18, 8, 18, 9])),
        ("cut", vec![2, 18, 0, 18, 1, 12, 0]),
    ]
}

/// See `fuzz/src/journal.rs`: a kind, then bytes in the place of batches, or turns and damage.
fn journals() -> Vec<(&'static str, Vec<u8>)> {
    let header = bytes("66734aa1 0100000000000000 0000000000000000 0100000000000000 10000000 00*8");
    let record = bytes("0f 01 03 01 61 08 0100000000000000 00000000");
    vec![
        ("zeros", [&[0][..], &[0; 600]].concat()),
        ("one_batch", [&[0][..], &header, &record].concat()),
        ("no_stamp", [&[8][..], &header].concat()),
        ("whole", vec![1, 7]),
        ("three_turns", vec![5, 7, 11, 2]),
        ("many_turns", vec![15, 3, 7, 11, 15, 19, 23, 27, 31]),
        ("flip", vec![1, 7, 0, 0, 2, 60, 1]),
        ("torn_header", vec![3, 7, 2, 0, 1, 2, 10, 0xff]),
        ("zeroed_sector", vec![1, 7, 3, 0, 4, 0, 0]),
        ("lost_end", vec![3, 7, 7, 4, 1, 4, 0, 0]),
        (
            "cut",
            vec![1, 7, 0, 0, 9, 9, 1, 0, 0, 9, 9, 1, 0, 0, 9, 9, 1, 0, 0, 9, 9, 1, 5, 0, 6, 1, 0],
        ),
        ("moved_sector", vec![1, 7, 6, 0, 2, 0, 4]),
        ("lost_stamp", vec![1, 7, 3, 0, 0, 0, 0]),
    ]
}

/// See `fuzz/src/store.rs`: what becomes of CURRENT as a whole, then damage.
fn stores() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("whole", vec![0]),
        ("current_flipped", vec![0, 0, 0, 0, 30, 1]),
        ("current_other_journal", vec![1, 0, 0, 0, 34, 3]),
        ("current_newer", vec![1, 0, 0, 0, 24, 3]),
        ("current_empty", vec![2]),
        ("current_gone", vec![0x80]),
        ("journal_gone", vec![0x84]),
        ("journal_empty", vec![6]),
        ("journal_flipped", vec![0, 0, 1, 2, 20, 1]),
        ("journal_zeroed", vec![0, 4, 1, 4, 0, 0]),
        ("journal_cut", vec![0, 5, 2, 4, 0, 0]),
        ("stamp_lost", vec![0, 3, 1, 0, 0, 0]),
        ("two", vec![0, 0, 1, 2, 20, 1, 6, 1, 4, 0, 3]),
    ]
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let get = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
    };
    let import = "{\"leases\":[{\"address\":\"10.0.0.7\",\"client\":\"id:01:02\",\
        \"hardware\":\"52:54:00:00:00:07\",\"state\":\"leased\",\"hostname\":\"a\\nb\",\
        \"account\":\"acme\",\"until\":\"2030-01-01T00:00:00Z\"},\
        {\"address\":\"2001:db8:aa00:200::/56\",\"client\":\"ia-pd:00:00:00:01:00:03:00:01:52:54\",\
        \"until\":\"never\"}],\"dry_run\":false}";
    vec![
        ("status", get("/v1/status")),
        ("list", get("/v1/leases?network=vms&state=leased&account=acme&from=0")),
        ("show", get("/v1/leases/10.0.0.1?network=vms")),
        ("show_prefix", get("/v1/leases/2001:db8:aa00:100::%2F56")),
        ("export_json", get("/v1/leases/export")),
        ("export_csv", get("/v1/leases/export?format=csv")),
        ("release", post("/v1/leases/10.0.0.1/release", "")),
        ("quarantine", post("/v1/leases/10.0.0.1/quarantine", "{\"seconds\":60}")),
        ("lift", post("/v1/leases/10.0.0.3/lift", "")),
        ("release_quarantine", post("/v1/leases/10.0.0.3/release?network=vms", "")),
        ("import", post("/v1/leases/import", import)),
        ("import_nested", post("/v1/leases/import", &"[".repeat(1000))),
        ("import_deep", post("/v1/leases/import", &"{\"leases\":[".repeat(90))),
        ("reload", post("/v1/reload", "")),
        ("backup", post("/v1/backup", "{\"directory\":\"/nowhere\"}")),
        ("unknown_path", get("/v2/status")),
        ("unknown_method", b"DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        (
            "chunked",
            b"POST /v1/reload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                .to_vec(),
        ),
        ("not_http", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()),
    ]
}

/// Requests to look ahead.
fn forecasts() -> Vec<(&'static str, Vec<u8>)> {
    let values = |count: usize| -> String {
        let value = |t: usize| if t % 41 == 7 { "null".into() } else { (t * t % 23).to_string() };
        (0..count).map(value).collect::<Vec<String>>().join(",")
    };
    let request = |count: usize, more: &str| {
        let history = values(count);
        format!(
            r#"{{"id":"a","frequency_seconds":3600,"start":"2026-01-05T00:00:00Z","history":[{history}],"horizon_steps":3,"quantiles":[0.1,0.5,0.9],"season_lengths":[24,168]{more}}}"#
        )
    };
    let events = r#","kind":"creates","account":"a","known_events":[{"announced":"2026-01-05T00:00:00Z","at":"2026-01-06T00:00:00Z","count":9,"duration_s":3600}]"#;
    let creates = request(60, events);
    vec![
        ("series", request(300, "").into_bytes()),
        ("short", request(9, "").into_bytes()),
        ("creates", format!("{creates}\n{creates}\n").into_bytes()),
        ("anomaly", format!(r#"{{"values":[{}],"probation":20}}"#, values(200)).into_bytes()),
    ]
}
