//! Any bytes as datagrams that reach the DHCPv6 engine, relayed or not: each has an answer that
//! reads, or a counted reason.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, LazyLock};

use foreshadow::base::{LinkId, Mac, NetworkId, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{Arrival6, EventKind, LinkUp};
use foreshadow::engine::{Effects, Engine, Input};
use foreshadow::lease::Seq;
use foreshadow::wire::v6_build::{RequestV6, unwrap_relay_reply};
use foreshadow::wire::{IaKind, Message6, MessageType6};

const POLICY: &str = "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\n\
    rapid_commit=true\noptions6={dns-servers=['2001:db8::53'],domain-search=['example']}\n\
    [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::10-2001:db8:1::13']\n\
    delegations=[{prefix='2001:db8:aa00::/48',length=56,min_length=50,exclude={length=64,id=5}}]\n\
    [[network]]\nname='far'\nrelays=['::/1']\n\
    [[network.subnet]]\nprefix='2001:db8:2::/64'\npools=['2001:db8:2::/64']\n";
const DUID: &[u8] = b"\0\x04our-own-duid-1234";
const NOW: Timestamp = Timestamp(1_700_000_000_000);

static PARSED: LazyLock<Arc<Policy>> = LazyLock::new(|| match config::check(POLICY, "fuzz") {
    Ok(loaded) => Arc::new(loaded.policy),
    Err(faults) => panic!("{}", faults.render(false)),
});

/// Plays one input.
pub fn run(data: &[u8]) {
    let mut engine = Engine::new(PARSED.clone(), Vec::new(), Seq(0));
    engine.set_identity(DUID, [7; 16]);
    let up = LinkUp {
        link: LinkId(1),
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: Mac([2, 0xff, 0, 0, 0, 1]),
        addrs: Vec::new(),
        addrs6: vec![Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)],
    };
    engine.handle(NOW, Input::LinkUp(up), &mut Effects::default());
    // The same bytes again meet what they have bound; as every type of message that there is.
    let mut seen = Vec::new();
    for kind in [None, Some(3), Some(5), Some(6), Some(8), Some(9)] {
        let mut bytes = data.to_vec();
        if let (Some(kind), Some(first)) = (kind, bytes.first_mut().filter(|b| **b != 12)) {
            *first = kind;
        }
        let again = seen.contains(&bytes);
        receive(&mut engine, &bytes, again);
        seen.push(bytes);
    }
    let mut fx = Effects::default();
    engine.handle(NOW, Input::Overheard6(arrival(1), data), &mut fx);
    assert!(fx.send_now.is_empty() && fx.send_after.is_empty(), "an answer to a server");
}

/// A SOLICIT and a REQUEST that come in by a link.
pub(crate) fn packets(link: u32) -> [(Arrival6, Vec<u8>); 2] {
    [MessageType6::Solicit, MessageType6::Request].map(|kind| {
        let request = RequestV6::new(kind, 1).client_id(&[0, 3, 0, 1, 2, 0, 0, 0, 0, 7]);
        let request = request.ia(IaKind::Na, 1, &[]).ia(IaKind::Pd, 2, &[]);
        let wanted = [21u16, 22, 23, 24, 31, 39, 56, 59].map(u16::to_be_bytes).concat();
        (arrival(link), request.option(6, &wanted).build())
    })
}

fn arrival(link: u32) -> Arrival6 {
    Arrival6 {
        link: LinkId(link),
        port: None,
        trunk: false,
        src_mac: Some(Mac([2, 0, 0, 0, 0, 7])),
        src: SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 9), 546, 0, 0),
        dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
    }
}

fn receive(engine: &mut Engine, bytes: &[u8], again: bool) {
    let mut fx = Effects::default();
    engine.handle(NOW, Input::Packet6(arrival(1), bytes), &mut fx);
    let replies: Vec<_> = fx.send_now.iter().chain(&fx.send_after).collect();
    // Who renews what we never leased waits for the answer of a neighbour, once.
    let told = fx.events.iter().any(|event| matches!(event.kind, EventKind::Dropped(..)));
    let told = told || !fx.probes.is_empty() || (again && replies.is_empty());
    assert_eq!(replies.len() + usize::from(told), 1, "an answer or a reason: {:?}", fx.events);
    for reply in replies {
        let mut payload = &fx.bytes[reply.payload.clone()];
        while let Some(inner) = unwrap_relay_reply(payload) {
            payload = inner;
        }
        match Message6::parse(payload) {
            Ok(msg) => assert_eq!(msg.server_id(), Some(DUID)),
            Err(error) => panic!("an answer that does not read: {error}"),
        }
    }
    assert!(fx.changes.is_empty() || !fx.send_after.is_empty(), "bound, and nobody is told");
    if let Some(seq) = engine.end_batch() {
        engine.handle(NOW, Input::Committed(seq), &mut Effects::default());
    }
}
