//! Published flaws of DHCP servers, as far as they are about reading DHCPv6: one test each.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv6Addr, SocketAddrV6};

use foreshadow::base::Mac;
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix, option, relay_forward};
use foreshadow::wire::v6_relay::HOPS_MAX;
use foreshadow::wire::{
    FrameError, IaKind, Message6, MessageType6, Relayed6, WireError6, read_udp6, write_udp6,
};

const LINK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

fn solicit() -> RequestV6 {
    RequestV6::new(MessageType6::Solicit, 1).client_id(&[0, 3, 0, 1, 0x52, 0x54, 0, 1, 2, 3])
}

fn error(request: RequestV6) -> WireError6 {
    Message6::parse(&request.build()).unwrap_err()
}

fn relayed(times: usize, message: Vec<u8>) -> Vec<u8> {
    (0..times)
        .fold(message, |inner, hop| relay_forward(hop as u8, LINK, PEER, &[(18, b"eth0")], &inner))
}

#[test]
fn duid_over_128_bytes() {
    for len in [131, 132, 255, 256, 2000, 65_000] {
        let request = RequestV6::new(MessageType6::Solicit, 1).client_id(&vec![0xab; len]);
        assert_eq!(error(request.clone()), WireError6::BadDuid { code: 1, len });
        let relayed = relayed(1, request.build());
        assert!(Relayed6::parse(&relayed).is_err(), "behind a relay, {len} bytes");
        let request = solicit().server_id(&vec![0; len]);
        assert_eq!(error(request), WireError6::BadDuid { code: 2, len });
    }
    let longest = solicit().server_id(&[0; 130]).build();
    assert_eq!(Message6::parse(&longest).unwrap().server_id().unwrap().len(), 130);
}

#[test]
fn zero_length_client_id() {
    let request = RequestV6::new(MessageType6::Solicit, 1).client_id(&[]);
    assert_eq!(error(request), WireError6::BadDuid { code: 1, len: 0 });
}

#[test]
fn option_length_past_the_end() {
    for tail in
        [&b"\0\x08\0\x02\0"[..], b"\0\x06\xff\xff\0\x17", b"\xff\xff\0\x01", b"\0\x03\0\x0c\0"]
    {
        let code = u16::from_be_bytes([tail[0], tail[1]]);
        assert_eq!(error(solicit().raw(tail)), WireError6::Truncated { code }, "{tail:x?}");
    }
    // Inside an association the end is the association's, whatever follows it.
    let lying = [0, 5, 0, 24, 1, 2];
    let request = solicit().ia(IaKind::Na, 1, &[lying.to_vec()]).option(8, &[0; 100]);
    assert_eq!(error(request), WireError6::Truncated { code: 5 });
}

#[test]
fn relay_nesting_past_the_limit() {
    let most = relayed(HOPS_MAX, solicit().build());
    assert_eq!(Relayed6::parse(&most).unwrap().hops().len(), 9);
    for times in [HOPS_MAX + 1, HOPS_MAX + 2, 33, 255, 1400] {
        let bytes = relayed(times, solicit().build());
        assert_eq!(Relayed6::parse(&bytes).unwrap_err(), WireError6::TooManyHops, "{times}");
    }
}

#[test]
fn truncated_relay_header() {
    for depth in 0..3 {
        for len in 1..34 {
            let bytes = relayed(depth, relayed(1, solicit().build())[..len].to_vec());
            let error = Relayed6::parse(&bytes).unwrap_err();
            assert_eq!(error, WireError6::TruncatedRelay(len), "{depth} relays around it");
        }
        let hollow = relayed(1, solicit().build())[..34].to_vec();
        let error = Relayed6::parse(&relayed(depth, hollow)).unwrap_err();
        assert_eq!(error, WireError6::NothingRelayed(depth));
    }
}

/// Associations in associations, addresses in addresses, messages in messages: 48 KB of any of
/// them overflow the stack of a reader that recurses, or its count of options.
#[test]
fn option_within_option_recursion() {
    let nest = |wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut inner = Vec::new();
        while inner.len() < 48_000 {
            inner = wrap(&inner);
        }
        inner
    };
    let addr = |inner: &[u8]| ia_addr(LINK, 1, 1, inner);
    let prefix = |inner: &[u8]| ia_prefix(LINK, 64, 1, 1, inner);
    let association = |code| move |inner: &[u8]| option(code, &[&[0; 12][..], inner].concat());
    let turns = |inner: &[u8]| option(3, &[&[0; 12][..], &ia_addr(LINK, 1, 1, inner)].concat());
    let message = |inner: &[u8]| option(9, inner);
    for inside in [
        nest(&addr),
        nest(&prefix),
        nest(&association(3)),
        nest(&association(25)),
        nest(&turns),
        nest(&message),
    ] {
        for kind in [IaKind::Na, IaKind::Pd, IaKind::Ta] {
            let bytes = solicit().ia(kind, 1, std::slice::from_ref(&inside)).build();
            let parsed = Message6::parse(&bytes).unwrap();
            let ia = parsed.ias().next().unwrap();
            assert!(ia.addrs().count() + ia.prefixes().count() <= 1);
            assert_eq!(ia.options().count(), 1, "one level, whatever it holds");
        }
        let bytes = relayed(1, solicit().raw(&inside).build());
        assert!(Relayed6::parse(&bytes).is_ok());
    }
}

#[test]
fn prefix_length_over_128() {
    for len in 129..=255 {
        let inside = [ia_prefix(LINK, len, 1, 1, &[])];
        let want = WireError6::BadPrefixLength { code: 26, len };
        assert_eq!(error(solicit().ia(IaKind::Pd, 1, &inside)), want);
        // Where no prefix belongs it is no better.
        assert_eq!(error(solicit().ia(IaKind::Na, 1, &inside)), want);
        let exclude = option(67, &[len, 0]);
        let request = solicit().ia(IaKind::Pd, 1, &[ia_prefix(LINK, 56, 1, 1, &exclude)]);
        assert_eq!(error(request), WireError6::BadPrefixLength { code: 67, len });
    }
}

#[test]
fn prefix_exclude_of_17_bytes() {
    let exclude = |delegated: u8, data: &[u8]| {
        let inside = ia_prefix(LINK, delegated, 1, 1, &option(67, data));
        let bytes = solicit().ia(IaKind::Pd, 1, &[inside]).build();
        let parsed = Message6::parse(&bytes)?;
        let ia = parsed.ias().next().unwrap();
        Ok::<_, WireError6>(ia.prefixes().next().unwrap().exclude())
    };
    let data = |len: u8| [&[len][..], &[0xff; 16]].concat();
    // A length byte and 16 of the prefix are right for ::/0 to ::/7 alone.
    assert_eq!(exclude(0, &data(128)).unwrap().unwrap().len(), 128);
    for delegated in 8..=128 {
        assert_eq!(exclude(delegated, &data(128)), Ok(None), "/{delegated}");
    }
    for len in [0, 1, 18, 19, 64, 300] {
        let want = WireError6::BadLength { code: 67, len, want: "2 to 17" };
        assert_eq!(exclude(56, &vec![64; len]), Err(want));
    }
}

#[test]
fn ip_or_udp_length_that_disagrees_with_the_frame() {
    let (from, to) = (SocketAddrV6::new(PEER, 546, 0, 0), SocketAddrV6::new(LINK, 547, 0, 0));
    let mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
    let mut frame = Vec::new();
    write_udp6(&mut frame, mac, mac, from, to, &solicit().build());
    assert!(read_udp6(&frame, true).is_ok());
    let held = (frame.len() - 54) as u16;
    for (at, lens) in [(18, [0, 1, 7, held + 1, 65535]), (58, [0, 4, 7, held + 1, 65535])] {
        for len in lens {
            let mut bad = frame.clone();
            bad[at..at + 2].copy_from_slice(&len.to_be_bytes());
            let error = read_udp6(&bad, false).unwrap_err();
            let told = matches!(
                error,
                FrameError::BadTotalLength { .. } | FrameError::BadUdpLength { .. }
            );
            assert!(told, "length {len} at {at}: {error}");
        }
    }
}

fn name(data: &[u8]) -> Option<Box<str>> {
    let bytes = solicit().option(39, &[b"\x01", data].concat()).build();
    Message6::parse(&bytes).unwrap().fqdn().unwrap().name()
}

#[test]
fn fqdn_label_over_63_bytes() {
    let label = |len: u8| [&[len][..], &vec![b'a'; len.into()], &[0]].concat();
    assert_eq!(name(&label(63)).unwrap().len(), 63);
    for len in [64, 100, 191] {
        assert_eq!(name(&label(len)), None, "{len}");
    }
    assert_eq!(name(&label(50)[..51].repeat(6)), None, "a name over 255 bytes");
}

#[test]
fn cyclic_name_compression() {
    for cyclic in [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\xc0\x02\xc0\x00", b"\x01a\xc0\x02"] {
        assert_eq!(name(cyclic), None, "{cyclic:x?}");
    }
}

#[test]
fn hostname_that_is_empty_once_cleaned() {
    for empty in [&b""[..], b"\0", b"\x03---\0", b"\x01_", b"\x01\x07\0"] {
        assert_eq!(name(empty), None, "{empty:x?}");
    }
}

#[test]
fn a_flood_of_tiny_options_is_bounded() {
    let tiny = option(8, b"").repeat(15_000);
    assert_eq!(error(solicit().raw(&tiny)), WireError6::TooManyOptions);
    assert_eq!(error(solicit().ia(IaKind::Pd, 1, &[tiny])), WireError6::TooManyOptions);
}

#[test]
fn zero_length_options_of_every_code() {
    for code in 0..=u16::MAX {
        let bytes = solicit().option(code, b"").build();
        match Message6::parse(&bytes) {
            Ok(parsed) if code == 1 => panic!("{parsed:?}"),
            Ok(parsed) => assert_eq!(parsed.option(code), Some([].as_slice())),
            Err(_) => assert!([1, 2, 3, 4, 13, 25].contains(&code), "option {code}"),
        }
    }
}
