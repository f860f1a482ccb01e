//! What holds for the IPv6 side of the wire layer whatever the bytes.
#![allow(clippy::unwrap_used)]

#[path = "wire_support/v6.rs"]
mod v6_support;

use std::net::{Ipv6Addr, SocketAddrV6};

use foreshadow::base::{Mac, Prefix6};
use foreshadow::wire::ra::{PrefixInfo, Rdnss, RouterAdvert};
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix, option, relay_forward};
use foreshadow::wire::{
    IaKind, Message6, MessageType6, Relayed6, WireError6, ndp, ra, read_udp6, write_udp6,
};
use proptest::collection::vec;
use proptest::prelude::*;
use v6_support::{read_datagram, read_everything};

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

/// Well-formed options of an address or a prefix, most of the time.
fn innermost() -> impl Strategy<Value = Vec<u8>> {
    let data = prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 2..18)];
    let codes = prop_oneof![Just(13u16), Just(67), any::<u16>()];
    vec((codes, data), 0..3)
        .prop_map(|all| all.iter().flat_map(|(code, data)| option(*code, data)).collect())
}

fn inside() -> impl Strategy<Value = Vec<u8>> {
    let times = || (any::<u32>(), any::<u32>(), innermost());
    prop_oneof![
        (any::<u128>(), times()).prop_map(|(addr, (p, v, inner))| ia_addr(
            addr.into(),
            p,
            v,
            &inner
        )),
        (any::<u128>(), 0..=128u8, times()).prop_map(|(addr, len, (p, v, inner))| ia_prefix(
            addr.into(),
            len,
            p,
            v,
            &inner
        )),
        innermost(),
    ]
}

fn ia_kind() -> impl Strategy<Value = IaKind> {
    prop_oneof![Just(IaKind::Na), Just(IaKind::Pd), Just(IaKind::Ta)]
}

/// A message that has some of everything.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![0..=135u16, any::<u16>(), Just(6), Just(15), Just(16), Just(39)];
    let options = vec((codes, vec(any::<u8>(), 0..60)), 0..8);
    let ias = vec((ia_kind(), any::<u32>(), vec(inside(), 0..4)), 0..4);
    (any::<u8>(), any::<u32>(), options, ias).prop_map(|(kind, xid, options, ias)| {
        let add = |request: RequestV6, (code, data): &(u16, Vec<u8>)| request.option(*code, data);
        let request = options.iter().fold(RequestV6::with_type(kind, xid), add);
        ias.iter()
            .fold(request, |request, (kind, iaid, inside)| request.ia(*kind, *iaid, inside))
            .build()
    })
}

/// A message as relays wrap it, at times too often.
fn relayed() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![Just(18u16), Just(37), Just(43), Just(79), Just(135), any::<u16>()];
    let hop = (any::<u8>(), any::<u128>(), vec((codes, vec(any::<u8>(), 0..12)), 0..4));
    (request(), vec(hop, 0..12)).prop_map(|(request, hops)| {
        hops.iter().fold(request, |inner, (count, addr, options)| {
            let options: Vec<(u16, &[u8])> =
                options.iter().map(|(code, data)| (*code, data.as_slice())).collect();
            relay_forward(*count, (*addr).into(), (!*addr).into(), &options, &inner)
        })
    })
}

/// A change of some bytes, or a cut.
fn mutated(packets: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (packets, changes, prop::option::of(any::<prop::sample::Index>())).prop_map(
        |(mut bytes, changes, cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..1500), kind in 1..14u8) {
        read_datagram(&bytes);
        let mut typed = bytes.clone();
        if let Some(first) = typed.first_mut() {
            *first = kind;
        }
        read_datagram(&typed);
        let _ = read_udp6(&bytes, true);
        let _ = ndp::read(&bytes, false);
        let _ = ra::read(&bytes, false);
    }

    #[test]
    fn messages_read_and_answers_read_back(bytes in relayed()) {
        read_datagram(&bytes);
    }

    #[test]
    fn mutated_messages_never_panic(bytes in mutated(relayed())) {
        read_datagram(&bytes);
    }

    #[test]
    fn messages_read_as_they_were_built(
        kind in 14..=255u8,
        xid in 0..1u32 << 24,
        options in vec((200..=u16::MAX, vec(any::<u8>(), 0..300)), 0..20),
    ) {
        let add = |request: RequestV6, (code, data): &(u16, Vec<u8>)| request.option(*code, data);
        let bytes = options.iter().fold(RequestV6::with_type(kind, xid), add).build();
        let message = Message6::parse(&bytes).unwrap();
        read_everything(&message);
        prop_assert_eq!(message.xid(), xid);
        let read: Vec<(u16, Vec<u8>)> =
            message.options().map(|(code, data)| (code, data.to_vec())).collect();
        prop_assert_eq!(read, options);
    }

    #[test]
    fn no_part_of_a_message_reads_as_a_whole(bytes in request(), at in any::<prop::sample::Index>()) {
        if let Ok(whole) = Message6::parse(&bytes) {
            // A cut is seen unless it falls between two options of the message itself.
            let len = at.index(bytes.len());
            let mut ends = vec![4];
            for (_, data) in whole.options() {
                ends.push(ends[ends.len() - 1] + 4 + data.len());
            }
            prop_assert_eq!(Message6::parse(&bytes[..len]).is_ok(), ends.contains(&len));
        }
    }

    #[test]
    fn nesting_ends_at_its_limit(hops in 0..40usize) {
        let message = RequestV6::new(MessageType6::Solicit, 1).build();
        let unknown = Ipv6Addr::UNSPECIFIED;
        let bytes = (0..hops)
            .fold(message, |inner, hop| relay_forward(hop as u8, unknown, unknown, &[], &inner));
        match Relayed6::parse(&bytes) {
            Ok(relayed) => prop_assert_eq!((relayed.hops().len(), hops <= 9), (hops, true)),
            Err(error) => prop_assert_eq!((error, hops > 9), (WireError6::TooManyHops, true)),
        }
    }

    #[test]
    fn frames_read_as_they_were_written(
        payload in vec(any::<u8>(), 0..1452),
        (src, dst) in (any::<u128>(), any::<u128>()),
        (sport, dport) in (any::<u16>(), any::<u16>()),
        flip in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let src = SocketAddrV6::new(src.into(), sport, 0, 0);
        let dst = SocketAddrV6::new(dst.into(), dport, 0, 0);
        let mut frame = Vec::new();
        write_udp6(&mut frame, MAC, Mac::BROADCAST, src, dst, &payload);
        let read = read_udp6(&frame, true).unwrap();
        prop_assert_eq!((read.src, read.dst, read.payload), (src, dst, payload.as_slice()));
        // One wrong bit behind the IP header's first four bytes never changes what is read.
        let at = 18 + flip.index(frame.len() - 18);
        frame[at] ^= 1 << bit;
        if let Ok(read) = read_udp6(&frame, true) {
            prop_assert_eq!((read.src, read.dst, read.payload), (src, dst, payload.as_slice()));
        }
    }

    #[test]
    fn neighbour_requests_read_as_they_were_written(src in any::<u128>(), target in any::<u128>()) {
        let (src, target) = (Ipv6Addr::from(src), Ipv6Addr::from(target));
        prop_assume!(!target.is_multicast() && !src.is_unspecified());
        let mut frame = Vec::new();
        ndp::write_request(&mut frame, MAC, None, src, target);
        let seen = ndp::read(&frame, true).unwrap();
        let want = ndp::NdpMessage::NeighbourSolicit { target, source: Some(MAC) };
        prop_assert_eq!((seen.src, seen.message), (src, want));
    }

    #[test]
    fn advertisements_read_as_they_were_written(
        prefixes in vec((any::<u128>(), 0..=128u8, any::<[u32; 2]>(), any::<[bool; 2]>()), 0..8),
        servers in vec(any::<u128>(), 0..8),
        (lifetime_s, reachable_ms, mtu) in (any::<u16>(), any::<u32>(), prop::option::of(any::<u32>())),
        (managed, other) in (any::<bool>(), any::<bool>()),
    ) {
        let info = |(addr, len, [valid_s, preferred_s], [on_link, autonomous]): &(u128, u8, [u32; 2], [bool; 2])| {
            let prefix = Prefix6::new((*addr).into(), *len).unwrap();
            PrefixInfo {
                prefix,
                on_link: *on_link,
                autonomous: *autonomous,
                valid_s: *valid_s,
                preferred_s: *preferred_s,
            }
        };
        let prefixes: Vec<PrefixInfo> = prefixes.iter().map(info).collect();
        let servers: Vec<Ipv6Addr> = servers.into_iter().map(Ipv6Addr::from).collect();
        let advert = RouterAdvert::<&str> {
            managed,
            other,
            lifetime_s,
            reachable_ms,
            mtu,
            prefixes: &prefixes,
            rdnss: Some(Rdnss { lifetime_s: 7, servers: &servers }),
            ..RouterAdvert::default()
        };
        let mut frame = Vec::new();
        advert.write_to_all(&mut frame, MAC, "fe80::1".parse().unwrap()).unwrap();
        let seen = ra::read(&frame, true).unwrap();
        prop_assert_eq!((seen.managed, seen.other, seen.mtu()), (managed, other, mtu));
        prop_assert_eq!((seen.lifetime_s, seen.reachable_ms), (lifetime_s, reachable_ms));
        prop_assert_eq!(seen.prefixes().collect::<Vec<_>>(), prefixes);
        let read: Vec<Ipv6Addr> = seen.dns_servers().map(|(_, server)| server).collect();
        prop_assert_eq!(read, servers);
    }
}
