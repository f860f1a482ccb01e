//! Any bytes as datagrams that reach the DHCPv4 engine, from the link, through a relay, or said by
//! another server: each has an answer that reads, or a counted reason.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, LazyLock};

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{EventKind, LinkUp};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::Seq;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Message, MessageType};

const POLICY: &str = "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\nbootp='any'\n\
    rapid_commit=true\nauthoritative=true\nrelays=['0.0.0.0/1']\n\
    options={domain-name-servers=['10.0.0.53'],domain-search=['example'],routers=['10.0.0.1']}\n\
    [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.10-10.0.0.13']\n\
    [[network.reservation]]\nmac='02:00:00:00:00:07'\naddress='10.0.0.50'\nhostname='db'\n";
const NOW: Timestamp = Timestamp(1_700_000_000_000);

static PARSED: LazyLock<Arc<Policy>> = LazyLock::new(|| match config::check(POLICY, "fuzz") {
    Ok(loaded) => Arc::new(loaded.policy),
    Err(faults) => panic!("{}", faults.render(false)),
});

/// Plays one input.
pub fn run(data: &[u8]) {
    let mut engine = Engine::new(PARSED.clone(), Vec::new(), Seq(0));
    let up = LinkUp {
        link: LinkId(1),
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: Mac([2, 0xff, 0, 0, 0, 1]),
        addrs: vec![(addr(1), Prefix4::new(addr(0), 24).expect("a prefix"))],
        addrs6: vec![],
    };
    engine.handle(NOW, Input::LinkUp(up), &mut Effects::default());
    // The same bytes again meet what they have bound; as every type of message that there is.
    let mut seen = Vec::new();
    for kind in [None, Some(3), Some(4), Some(7), Some(8), Some(1)] {
        let mut bytes = data.to_vec();
        if let (Some(kind), Some(place)) = (kind, kind_of(data)) {
            bytes[place] = kind;
        }
        let again = seen.contains(&bytes);
        receive(&mut engine, arrival(1, 67), &bytes, again);
        let by_udp = Arrival { src_mac: None, dst: addr(1), ..arrival(1, 67) };
        receive(&mut engine, by_udp, &bytes, again);
        seen.push(bytes);
    }
    let mut fx = Effects::default();
    engine.handle(NOW, Input::Packet4(arrival(1, 68), data), &mut fx);
    assert!(fx.send_now.is_empty() && fx.send_after.is_empty(), "an answer to a server");
}

/// Where the message type stands, if it comes first, as it mostly does.
fn kind_of(data: &[u8]) -> Option<usize> {
    (data.len() > 243 && data[240..242] == [53, 1]).then_some(242)
}

/// A DISCOVER and a REQUEST that come in by a link.
pub(crate) fn packets(link: u32) -> [(Arrival, Vec<u8>); 2] {
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    [MessageType::Discover, MessageType::Request].map(|kind| {
        let wanted = [1, 3, 6, 12, 15, 42, 66, 67, 119, 121];
        (arrival(link, 67), RequestV4::new(kind, mac).option(55, &wanted).build())
    })
}

fn addr(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn arrival(link: u32, dst_port: u16) -> Arrival {
    Arrival {
        link: LinkId(link),
        port: None,
        trusted: false,
        trunk: false,
        src_mac: Some(Mac([2, 0, 0, 0, 0, 7])),
        src: SocketAddrV4::new(addr(9), 68),
        dst: Ipv4Addr::BROADCAST,
        dst_port,
    }
}

fn receive(engine: &mut Engine, arrival: Arrival, bytes: &[u8], again: bool) {
    let mut fx = Effects::default();
    engine.handle(NOW, Input::Packet4(arrival, bytes), &mut fx);
    let replies: Vec<_> = fx.send_now.iter().chain(&fx.send_after).collect();
    // Who gives something back gets no answer, and who is doubted waits for that of a neighbour,
    // once.
    let is_reason = |kind: &EventKind| {
        matches!(kind, EventKind::Dropped(..) | EventKind::Released(..) | EventKind::Declined(..))
    };
    let told = fx.events.iter().any(|event| is_reason(&event.kind)) || !fx.probes.is_empty();
    // What another server says is listened to, and no more.
    let told = told || bytes.first() == Some(&2) || (again && replies.is_empty());
    assert_eq!(replies.len() + usize::from(told), 1, "an answer or a reason: {:?}", fx.events);
    for reply in replies {
        match Message::parse(&fx.bytes[reply.payload.clone()]) {
            Ok(msg) => super::wire_support::read_everything(&msg),
            Err(error) => panic!("an answer that does not read: {error}"),
        }
    }
    if let Some(seq) = engine.end_batch() {
        engine.handle(NOW, Input::Committed(seq), &mut Effects::default());
    }
}
