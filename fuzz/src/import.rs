//! Any text as the lease file of another server: leases that can be stored, or lines with a reason.

use std::sync::Arc;

use foreshadow::base::{ClientKey, HwAddr, NetworkId, Timestamp};
use foreshadow::import::{Import, Source, kea_server_duid, parse};
use foreshadow::lease::{Cause, Change, Details, Lease, State};
use foreshadow::store::record::{decode, encode};

/// Words of the three formats.
pub const WORDS: &[&[u8]] = &[
    b"lease 10.0.0.9 {\n",
    b"ia-na \"\\001\\000\\000\\000\\000\\003\" {\n",
    b"ia-pd ",
    b"iaaddr 2001:db8::1 {\n",
    b"iaprefix 2001:db8::/56 {\n",
    b"binding state active;\n",
    b"ends 4 2027/01/14 08:00:00;\n",
    b"ends never;\n",
    b"hardware ethernet 52:54:00:00:00:01;\n",
    b"uid \"\\001RT\\000\";\n",
    b"server-duid \"\\000\\001\";\n",
    b"client-hostname \"",
    b"cltt epoch 1;",
    b"duid 00:01:00:01:aa\n",
    b"address,hwaddr,client_id,valid_lifetime,expire,subnet_id\n",
    b"18446744073709551615",
    b"-1",
    b"}\n",
    b"\\",
    b"\"",
    b",",
    b"*",
];

/// Plays one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for source in [Source::Dnsmasq, Source::Isc, Source::Kea] {
        let import = parse(source, &text);
        check(&text, &import);
        let mut twice = parse(source, &text);
        assert_eq!(twice, import, "read otherwise a second time");
        twice.update(import);
    }
    if let Some(duid) = kea_server_duid(&text) {
        assert!((3..=130).contains(&duid.len()));
    }
}

fn check(text: &str, import: &Import) {
    let lines = text.lines().count() as u64 + 1;
    for skipped in &import.unmapped {
        assert!(skipped.line <= lines && !skipped.why.is_empty(), "{skipped:?}");
        assert!(!skipped.why.contains(|c: char| c.is_control()), "{skipped:?}");
        assert!(skipped.why.len() <= 1024, "{skipped:?}");
    }
    if let Some(duid) = &import.server_duid {
        assert!((3..=130).contains(&duid.len()));
    }
    for (resource, lease) in &import.leases {
        assert_eq!(*resource, lease.resource);
        assert!((1..=lines).contains(&lease.line), "{lease:?}");
        super::wire_support::check_hostname(lease.hostname.as_deref());
        let hw = lease.hw.unwrap_or(HwAddr::ethernet(Default::default()));
        stored(&Lease {
            network: NetworkId(1),
            resource: *resource,
            client: lease.client.clone().unwrap_or(ClientKey::hardware(&hw)),
            hw,
            state: State::Leased,
            since: lease.since.unwrap_or(Timestamp(0)),
            updated: lease.since.unwrap_or(Timestamp(0)),
            until: lease.until,
            port: None,
            uses: Default::default(),
            details: Arc::new(Details { hostname: lease.hostname.clone(), ..Details::default() }),
        });
    }
}

fn stored(lease: &Lease) {
    let change = Change::Put(lease.clone(), Cause::Imported(Timestamp(1)));
    let mut out = Vec::new();
    encode(&change, &mut out).expect("what was imported can be stored");
    assert_eq!(decode(&out), Ok(change));
}
