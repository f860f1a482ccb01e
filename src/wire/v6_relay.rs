//! Relay-forward messages (RFC 9915 s9): the way of a client's message through its relays.

use std::net::Ipv6Addr;

use super::options6 as opt;
use super::v6::{Budget, MESSAGE6_MAX, Message6, MessageType6, Options6, WireError6};
use crate::base::HwAddr;

/// A relay passes on what at most this many relays have passed on before it (RFC 9915 s7.6).
pub const HOP_COUNT_LIMIT: u8 = 8;
/// Most relays between client and server: the last one may say [`HOP_COUNT_LIMIT`] (RFC 9915
/// s19.1.2), the first one says 0.
pub const HOPS_MAX: usize = HOP_COUNT_LIMIT as usize + 1;
/// Type, hop count and two addresses, in bytes (RFC 9915 s9).
pub(super) const RELAY_HEADER: usize = 34;

/// What one relay says of a message that it passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<'a> {
    /// How many relays the message had passed before this one, as it says.
    pub hop_count: u8,
    /// An address on the client's link; unspecified where the relay has none to tell it by.
    pub link_addr: Ipv6Addr,
    /// Whom the relay had the message from: the client or another relay.
    pub peer_addr: Ipv6Addr,
    options: &'a [u8],
}

impl<'a> Hop<'a> {
    const NONE: Hop<'static> = Hop {
        hop_count: 0,
        link_addr: Ipv6Addr::UNSPECIFIED,
        peer_addr: Ipv6Addr::UNSPECIFIED,
        options: &[],
    };

    /// Reads a relay's message, without what it carries. Its first byte is not looked at.
    fn parse(bytes: &'a [u8], budget: &mut Budget) -> Result<Hop<'a>, WireError6> {
        let short = WireError6::TruncatedRelay(bytes.len());
        let (header, options) = bytes.split_first_chunk::<RELAY_HEADER>().ok_or(short)?;
        budget.each(options, |_, _, _| Ok(()))?;
        let [_, hop_count, addrs @ ..] = header;
        let (link, peer) = addrs.split_at(16);
        let addr = |octets: &[u8]| <[u8; 16]>::try_from(octets).map(Ipv6Addr::from);
        let (Ok(link_addr), Ok(peer_addr)) = (addr(link), addr(peer)) else { return Err(short) };
        Ok(Hop { hop_count: *hop_count, link_addr, peer_addr, options })
    }

    /// All its options in order, the message that it carries among them: code and data.
    pub fn options(&self) -> Options6<'a> {
        Options6::new(self.options)
    }

    /// The first option of that code.
    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        self.options().find_code(code)
    }

    /// Option 18: the interface that the relay had the message from, as the relay calls it.
    pub fn interface_id(&self) -> Option<&'a [u8]> {
        self.option(opt::INTERFACE_ID)
    }

    /// Option 37: the number of an enterprise, and its name for the client's end of the line
    /// (RFC 4649 s3); `None` also where it is shorter than the number.
    pub fn remote_id(&self) -> Option<(u32, &'a [u8])> {
        let (enterprise, id) = self.option(opt::REMOTE_ID)?.split_first_chunk()?;
        Some((u32::from_be_bytes(*enterprise), id))
    }

    /// Option 38 (RFC 4580).
    pub fn subscriber_id(&self) -> Option<&'a [u8]> {
        self.option(opt::SUBSCRIBER_ID)
    }

    /// Option 79: hardware type and address of the client (RFC 6939 s4); `None` also where it
    /// is shorter than the type.
    pub fn client_link_layer(&self) -> Option<(u16, &'a [u8])> {
        let (htype, addr) = self.option(opt::CLIENT_LINKLAYER_ADDR)?.split_first_chunk()?;
        Some((u16::from_be_bytes(*htype), addr))
    }

    /// Option 79 as a hardware address, where it is one that DHCPv4 could carry too.
    pub fn client_hw(&self) -> Option<HwAddr> {
        let (htype, addr) = self.client_link_layer()?;
        HwAddr::new(u8::try_from(htype).ok()?, addr)
    }

    /// Option 135: the relay listens on the port that it sent from. Its value is the port of the
    /// relay below it where that is not 547, else 0 (RFC 8357 s4); `None` also where it is not 2
    /// bytes long.
    pub fn relay_port(&self) -> Option<u16> {
        self.option(opt::RELAY_PORT)?.try_into().ok().map(u16::from_be_bytes)
    }
}

/// A client's message with the way it came.
#[derive(Clone, Debug)]
pub struct Relayed6<'a> {
    hops: [Hop<'a>; HOPS_MAX],
    len: usize,
    inner: Message6<'a>,
}

impl<'a> Relayed6<'a> {
    /// Reads a UDP payload, be it wrapped by relays or not. A Relay-reply is not unwrapped: it
    /// is never for a server.
    pub fn parse(bytes: &'a [u8]) -> Result<Relayed6<'a>, WireError6> {
        if bytes.len() > MESSAGE6_MAX {
            return Err(WireError6::TooLong(bytes.len()));
        }
        let mut hops = [Hop::NONE; HOPS_MAX];
        let (mut len, mut rest, mut budget) = (0, bytes, Budget::default());
        while rest.first() == Some(&(MessageType6::RelayForw as u8)) {
            let slot = hops.get_mut(len).ok_or(WireError6::TooManyHops)?;
            *slot = Hop::parse(rest, &mut budget)?;
            rest = slot.option(opt::RELAY_MSG).ok_or(WireError6::NothingRelayed(len))?;
            len += 1;
        }
        let inner = Message6::parse_within(rest, &mut budget)?;
        Ok(Relayed6 { hops, len, inner })
    }

    /// The relays it came through, outermost (nearest to the server) first. Empty: it came from
    /// the client itself.
    pub fn hops(&self) -> &[Hop<'a>] {
        self.hops.get(..self.len).unwrap_or_default()
    }

    /// What the client sent.
    pub fn inner(&self) -> &Message6<'a> {
        &self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v6_build::{RequestV6, relay_forward};

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn solicit() -> Vec<u8> {
        RequestV6::new(MessageType6::Solicit, 7).client_id(&[0, 3, 9]).build()
    }

    fn nested(hops: usize) -> Vec<u8> {
        (0..hops).fold(solicit(), |message, hop| {
            relay_forward(hop as u8, addr("2001:db8::1"), addr("fe80::9"), &[], &message)
        })
    }

    #[test]
    fn what_no_relay_wrapped_has_no_hops() {
        let bytes = solicit();
        let relayed = Relayed6::parse(&bytes).unwrap();
        assert_eq!((relayed.hops().len(), relayed.inner().xid()), (0, 7));
    }

    #[test]
    fn hops_come_outermost_first() {
        let options: [(u16, &[u8]); 6] = [
            (18, b"eth0"),
            (37, b"\0\0\0\x09port 1"),
            (38, b"subscriber"),
            (79, b"\0\x01\x52\x54\0\x01\x02\x03"),
            (135, &[0, 0]),
            (18, b"again"),
        ];
        let inner = relay_forward(0, addr("::"), addr("fe80::1"), &options, &solicit());
        let bytes = relay_forward(1, addr("2001:db8::1"), addr("fe80::2"), &[], &inner);
        let relayed = Relayed6::parse(&bytes).unwrap();
        let [outer, inner] = relayed.hops() else { panic!("{:?}", relayed.hops()) };
        assert_eq!((outer.hop_count, outer.link_addr), (1, addr("2001:db8::1")));
        assert_eq!(outer.peer_addr, addr("fe80::2"));
        assert_eq!((outer.interface_id(), outer.remote_id()), (None, None));
        assert_eq!((outer.subscriber_id(), outer.client_hw()), (None, None));
        assert_eq!((outer.relay_port(), outer.options().count()), (None, 1));
        assert_eq!((inner.hop_count, inner.link_addr), (0, Ipv6Addr::UNSPECIFIED));
        assert_eq!(inner.interface_id(), Some(b"eth0".as_slice()));
        assert_eq!(inner.remote_id(), Some((9, b"port 1".as_slice())));
        assert_eq!(inner.subscriber_id(), Some(b"subscriber".as_slice()));
        assert_eq!(inner.client_link_layer(), Some((1, [0x52, 0x54, 0, 1, 2, 3].as_slice())));
        assert_eq!(inner.client_hw().unwrap().to_string(), "52:54:00:01:02:03");
        assert_eq!(inner.relay_port(), Some(0));
        assert_eq!(relayed.inner().client_id(), Some([0, 3, 9].as_slice()));
    }

    #[test]
    fn options_of_relays_are_none_when_too_short_or_too_long() {
        let options: [(u16, &[u8]); 3] = [(37, b"\0\0\0"), (79, b"\0"), (135, b"\0")];
        let bytes = relay_forward(0, addr("::"), addr("::"), &options, &solicit());
        let hop = Relayed6::parse(&bytes).unwrap().hops()[0];
        assert_eq!(
            (hop.remote_id(), hop.client_link_layer(), hop.relay_port()),
            (None, None, None)
        );
        for odd in [&b"\x01\x00ab"[..], &[&[0, 1][..], &[0; 17]].concat()] {
            let bytes = relay_forward(0, addr("::"), addr("::"), &[(79, odd)], &solicit());
            let hop = Relayed6::parse(&bytes).unwrap().hops()[0];
            assert!(hop.client_link_layer().is_some() && hop.client_hw().is_none());
        }
    }

    #[test]
    fn nesting_is_read_up_to_its_limit() {
        for hops in 0..=HOPS_MAX {
            let bytes = nested(hops);
            assert_eq!(Relayed6::parse(&bytes).unwrap().hops().len(), hops);
        }
        for hops in [HOPS_MAX + 1, 32, 1000] {
            assert_eq!(Relayed6::parse(&nested(hops)).unwrap_err(), WireError6::TooManyHops);
        }
    }

    #[test]
    fn damaged_relay_messages_are_errors_of_their_own() {
        let whole = nested(2);
        for len in 1..RELAY_HEADER {
            let error = Relayed6::parse(&whole[..len]).unwrap_err();
            assert_eq!(error, WireError6::TruncatedRelay(len));
        }
        let bare = &whole[..RELAY_HEADER];
        assert_eq!(Relayed6::parse(bare).unwrap_err(), WireError6::NothingRelayed(0));
        for len in RELAY_HEADER..whole.len() {
            assert!(Relayed6::parse(&whole[..len]).is_err(), "cut to {len} bytes");
        }
        let hollow = relay_forward(1, addr("::"), addr("::"), &[], bare);
        assert_eq!(Relayed6::parse(&hollow).unwrap_err(), WireError6::NothingRelayed(1));
        let empty = relay_forward(0, addr("::"), addr("::"), &[], &[]);
        assert_eq!(Relayed6::parse(&empty).unwrap_err(), WireError6::TooShort(0));
        let mut reply = nested(1);
        reply[0] = 13;
        assert_eq!(Relayed6::parse(&reply).unwrap_err(), WireError6::RelayMessage(13));
        let long = vec![12; MESSAGE6_MAX + 1];
        assert!(matches!(Relayed6::parse(&long), Err(WireError6::TooLong(_))));
    }

    #[test]
    fn options_of_relays_and_client_share_one_limit() {
        let many: Vec<(u16, &[u8])> = vec![(99, b""); 1022];
        let fits = relay_forward(0, addr("::"), addr("::"), &many, &solicit());
        assert!(Relayed6::parse(&fits).is_ok());
        let over = relay_forward(1, addr("::"), addr("::"), &[], &fits);
        assert_eq!(Relayed6::parse(&over).unwrap_err(), WireError6::TooManyOptions);
    }
}
