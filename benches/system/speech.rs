//! What clients say and what they hear: frames of either protocol, made and read by `wire`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use foreshadow::base::Mac;
use foreshadow::net::Outbox;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix};
use foreshadow::wire::{
    IaKind, Kind, Kind6, Message, Message6, MessageType, MessageType6, multicast_mac, options,
    options6, read_udp4, read_udp6, write_udp4, write_udp6,
};

/// How a client asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// DHCPv4 on the link.
    #[default]
    Direct,
    /// DHCPv4 through a relay, which is the generator.
    Relayed,
    /// DHCPv6 on the link, for an address.
    Address6,
    /// DHCPv6 on the link, for a prefix.
    Prefix6,
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// DISCOVER or SOLICIT.
    Seek,
    /// The REQUEST that takes what was offered.
    Select,
    /// REQUEST with ciaddr, or RENEW.
    Renew,
    /// RELEASE.
    Release,
}

/// What a client holds or was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) addr: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) addr6: Ipv6Addr,
}

impl Held {
    pub(crate) const NOTHING: Held = Held {
        addr: Ipv4Addr::UNSPECIFIED,
        server: Ipv4Addr::UNSPECIFIED,
        addr6: Ipv6Addr::UNSPECIFIED,
    };
}

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// OFFER or ADVERTISE.
    Offer(Held),
    /// ACK or REPLY, with what it grants.
    Ack(Held),
    /// NAK, or a REPLY that grants nothing.
    Refusal,
}

/// Begins the transaction ids of this generator; the rest is the client's number.
const XID4: u32 = 0x5a00_0000;
/// What DHCPv6 leaves for the number of a client.
const XID6_MASK: u32 = 0x00ff_ffff;
const IAID: u32 = 1;
/// Length of a delegated prefix.
pub(crate) const DELEGATED: u8 = 56;
const SERVERS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Speaks for all clients of a link.
pub(crate) struct Speaker {
    /// The generator's own interface.
    pub(crate) own_mac: Mac,
    /// The server's interface.
    pub(crate) server_mac: Mac,
    /// The address that the generator relays from.
    pub(crate) relay: Ipv4Addr,
    /// The DUID of the server, once heard.
    duid: Vec<u8>,
}

impl Speaker {
    pub(crate) fn new(own_mac: Mac, server_mac: Mac, relay: Ipv4Addr) -> Speaker {
        Speaker { own_mac, server_mac, relay, duid: Vec::new() }
    }

    /// Appends the frame in which client `n` says `word`.
    pub(crate) fn say(&self, word: Word, way: Way, n: u32, held: &Held, out: &mut Outbox) {
        match way {
            Way::Direct | Way::Relayed => self.say4(word, way == Way::Relayed, n, held, out),
            Way::Address6 | Way::Prefix6 => self.say6(word, way, n, held, out),
        }
    }

    fn say4(&self, word: Word, relayed: bool, n: u32, held: &Held, out: &mut Outbox) {
        let mac = mac(n);
        let kind = match word {
            Word::Seek => MessageType::Discover,
            Word::Select | Word::Renew => MessageType::Request,
            Word::Release => MessageType::Release,
        };
        let id = [1, mac.0[0], mac.0[1], mac.0[2], mac.0[3], mac.0[4], mac.0[5]];
        let mut request = RequestV4::new(kind, mac).xid(XID4 | n).option(options::CLIENT_ID, &id);
        request = match word {
            Word::Seek => request,
            Word::Select => {
                request.addr(options::SERVER_ID, held.server).addr(options::REQUESTED_IP, held.addr)
            }
            Word::Renew => request.ciaddr(held.addr),
            Word::Release => request.ciaddr(held.addr).addr(options::SERVER_ID, held.server),
        };
        if word != Word::Release {
            request = request.option(options::PARAMETER_LIST, &[1, 28, 2, 3, 15, 6, 12]);
        }
        let by_unicast = matches!(word, Word::Renew | Word::Release);
        let (src_mac, dst_mac, src, dst) = match (by_unicast, relayed) {
            (true, _) => (mac, self.server_mac, (held.addr, 68), held.server),
            (false, true) => {
                request = request.giaddr(self.relay).hops(1);
                (self.own_mac, self.server_mac, (self.relay, 67), SERVER)
            }
            (false, false) => {
                (mac, Mac::BROADCAST, (Ipv4Addr::UNSPECIFIED, 68), Ipv4Addr::BROADCAST)
            }
        };
        let (src, dst) = (SocketAddrV4::new(src.0, src.1), SocketAddrV4::new(dst, 67));
        let payload = request.build();
        out.push(|bytes| write_udp4(bytes, src_mac, dst_mac, src, dst, &payload));
    }

    fn say6(&self, word: Word, way: Way, n: u32, held: &Held, out: &mut Outbox) {
        let kind = match word {
            Word::Seek => MessageType6::Solicit,
            Word::Select => MessageType6::Request,
            Word::Renew => MessageType6::Renew,
            Word::Release => MessageType6::Release,
        };
        let (ia, inside) = match way {
            Way::Prefix6 => (IaKind::Pd, ia_prefix(held.addr6, DELEGATED, 0, 0, &[])),
            _ => (IaKind::Na, ia_addr(held.addr6, 0, 0, &[])),
        };
        let inside = if word == Word::Seek { vec![] } else { vec![inside] };
        let mac = mac(n);
        let duid = [&[0, 3, 0, 1][..], &mac.0].concat();
        let mut request = RequestV6::new(kind, n & XID6_MASK).client_id(&duid);
        if word != Word::Seek {
            request = request.server_id(&self.duid);
        }
        let payload =
            request.elapsed(0).oro(&[options6::DNS_SERVERS]).ia(ia, IAID, &inside).build();
        // One address for all, so that a server that answers by the kernel's routes knows the way.
        let src = SocketAddrV6::new(self.own_mac.link_local(), 546, 0, 0);
        let dst = SocketAddrV6::new(SERVERS6, 547, 0, 0);
        out.push(|bytes| write_udp6(bytes, mac, multicast_mac(SERVERS6), src, dst, &payload));
    }

    /// What a frame says, and to which client.
    pub(crate) fn read_frame(&mut self, frame: &[u8], is_ipv6: bool) -> Option<(u32, Heard)> {
        if is_ipv6 {
            return self.read6(read_udp6(frame, false).ok()?.payload);
        }
        read4(read_udp4(frame, false).ok()?.payload)
    }

    fn read6(&mut self, payload: &[u8]) -> Option<(u32, Heard)> {
        let msg = Message6::parse(payload).ok()?;
        let ia = msg.ias().next();
        let granted = ia.and_then(|ia| {
            let addr = ia.addrs().find(|a| a.valid > 0).map(|a| a.addr);
            addr.or_else(|| ia.prefixes().find(|p| p.valid > 0).map(|p| p.prefix))
        });
        let held = granted.map(|addr6| Held { addr6, ..Held::NOTHING });
        let heard = match (msg.kind(), held) {
            (Kind6::Known(MessageType6::Advertise), Some(held)) => {
                let duid = msg.server_id()?;
                if *duid != *self.duid {
                    self.duid = duid.to_vec();
                }
                Heard::Offer(held)
            }
            (Kind6::Known(MessageType6::Reply), Some(held)) => Heard::Ack(held),
            (Kind6::Known(MessageType6::Reply | MessageType6::Advertise), None) => Heard::Refusal,
            _ => return None,
        };
        Some((msg.xid(), heard))
    }
}

/// What a DHCPv4 payload says, and to which client.
pub(crate) fn read4(payload: &[u8]) -> Option<(u32, Heard)> {
    let msg = Message::parse(payload).ok()?;
    let n = msg.xid().checked_sub(XID4)?;
    let held = || {
        let server = msg.server_id().unwrap_or(Ipv4Addr::UNSPECIFIED);
        Held { addr: msg.yiaddr(), server, ..Held::NOTHING }
    };
    match msg.kind() {
        Kind::Dhcp(MessageType::Offer) => Some((n, Heard::Offer(held()))),
        Kind::Dhcp(MessageType::Ack) => Some((n, Heard::Ack(held()))),
        Kind::Dhcp(MessageType::Nak) => Some((n, Heard::Refusal)),
        _ => None,
    }
}

/// The server's address on every stage.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The hardware address of client `n`.
pub(crate) fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x02, 0xf5, a, b, c, d])
}
