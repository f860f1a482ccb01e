//! What holds for the wire layer whatever the bytes.
#![allow(clippy::unwrap_used)]

mod wire_support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use foreshadow::base::Mac;
use foreshadow::base::name::{
    check_name, clean_hostname, decode_name, decode_search_list, decode_uncompressed, encode_name,
    encode_search_list,
};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Message, MessageType, OutOption, ReplyV4, arp, read_udp4, write_udp4};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

fn read(bytes: &[u8]) {
    if let Ok(message) = Message::parse(bytes) {
        wire_support::read_everything(&message);
        wire_support::check_rewritten(&message, bytes.len());
    }
}

/// Bytes that look like a message up to the options, which are arbitrary.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 236), 0..=16u8, 0..=4u8, vec(any::<u8>(), 0..400)).prop_map(
        |(mut bytes, hlen, overload, options)| {
            bytes[2] = hlen;
            bytes.extend_from_slice(&[0x63, 0x82, 0x53, 0x63, 52, 1, overload]);
            bytes.extend_from_slice(&options);
            bytes
        },
    )
}

/// A well-formed request that has some of everything.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![
        Just(12u8),
        Just(43),
        Just(50),
        Just(52),
        Just(55),
        Just(61),
        Just(77),
        Just(81),
        Just(82),
        Just(93),
        Just(97),
        1..=254u8
    ];
    let options = vec((codes, vec(any::<u8>(), 0..300)), 0..12);
    (options, vec(any::<u8>(), 0..64), vec(any::<u8>(), 0..128)).prop_map(
        |(options, sname, file)| {
            let request = RequestV4::new(MessageType::Discover, MAC).sname(&sname).file(&file);
            let add =
                |request: RequestV4, (code, data): &(u8, Vec<u8>)| request.option(*code, data);
            options.iter().fold(request, add).build()
        },
    )
}

/// A change of some bytes, or a cut.
fn mutated(packets: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (packets, changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, cut, cuts)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

fn name() -> impl Strategy<Value = String> {
    vec("[a-zA-Z0-9_-]{1,63}", 1..6).prop_map(|labels| labels.join("."))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..1500)) {
        read(&bytes);
        let _ = read_udp4(&bytes, true);
        let _ = arp::read(&bytes);
        let _ = decode_name(&bytes, 0);
        let _ = decode_search_list(&bytes);
        let _ = decode_uncompressed(&bytes);
    }

    #[test]
    fn arbitrary_options_never_panic(bytes in plausible()) {
        read(&bytes);
    }

    #[test]
    fn mutated_requests_never_panic(bytes in mutated(request())) {
        read(&bytes);
    }

    #[test]
    fn requests_read_as_they_were_built(
        options in vec((1..=254u8, vec(any::<u8>(), 0..600)), 0..20),
    ) {
        let mut want: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        let mut request = RequestV4::bootp(MAC);
        for (code, data) in options.iter().filter(|(code, _)| *code != 52) {
            request = request.option(*code, data);
            want.entry(*code).or_default().extend_from_slice(data);
        }
        let bytes = request.build();
        let message = Message::parse(&bytes).unwrap();
        wire_support::read_everything(&message);
        for code in 1..=254 {
            let got = message.option(code);
            prop_assert_eq!(got.as_deref(), want.get(&code).map(Vec::as_slice));
        }
    }

    #[test]
    fn replies_read_as_they_were_written(
        options in btree_map(1..=254u8, (vec(any::<u8>(), 0..300), any::<bool>()), 0..20),
        relay_info in prop::option::of(vec(any::<u8>(), 0..300)),
        sname in prop_oneof![Just(vec![]), vec(any::<u8>(), 0..=64)],
        file in prop_oneof![Just(vec![]), vec(any::<u8>(), 0..=128)],
        limit in prop_oneof![0..700usize, 0..4000usize],
    ) {
        let options: Vec<OutOption<'_>> = options
            .iter()
            .filter(|(code, _)| ![52, 82].contains(*code))
            .map(|(code, (data, required))| OutOption { code: *code, data, required: *required })
            .collect();
        let reply = ReplyV4 {
            htype: 1, hlen: 6, hops: 0, xid: 7, secs: 0, flags: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::LOCALHOST,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: [9; 16],
            sname: &sname,
            file: &file,
            options: &options,
            relay_info: relay_info.as_deref(),
        };
        let dropped = wire_support::check_written(&reply, limit);
        // Nothing is dropped for no reason.
        let most: usize = options.iter().map(|option| option.data.len() + 4).sum();
        if 240 + most + relay_info.map_or(0, |info| info.len() + 4) < limit {
            prop_assert!(dropped.is_empty());
        }
    }

    #[test]
    fn frames_read_as_they_were_written(
        payload in vec(any::<u8>(), 0..1472),
        (src, dst) in (any::<u32>(), any::<u32>()),
        (sport, dport) in (any::<u16>(), any::<u16>()),
        flip in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let src = SocketAddrV4::new(src.into(), sport);
        let dst = SocketAddrV4::new(dst.into(), dport);
        let mut frame = Vec::new();
        write_udp4(&mut frame, MAC, Mac::BROADCAST, src, dst, &payload);
        let read = read_udp4(&frame, true).unwrap();
        prop_assert_eq!((read.src, read.dst, read.payload), (src, dst, payload.as_slice()));
        // One wrong bit behind the Ethernet header never changes what is read.
        let at = 14 + flip.index(frame.len() - 14);
        frame[at] ^= 1 << bit;
        if let Ok(read) = read_udp4(&frame, true) {
            prop_assert_eq!((read.src, read.dst, read.payload), (src, dst, payload.as_slice()));
        }
    }

    #[test]
    fn names_decode_as_they_were_encoded(name in name()) {
        let mut out = b"before".to_vec();
        match encode_name(&name, &mut out) {
            Ok(()) => {
                prop_assert!(check_name(&name).is_ok());
                prop_assert_eq!(decode_name(&out[6..], 0), Ok((name.clone(), out.len() - 6)));
                prop_assert_eq!(decode_uncompressed(&out[6..]), Ok(name));
            }
            Err(_) => prop_assert!(name.len() > 253 && out == b"before"),
        }
    }

    #[test]
    fn search_lists_decode_as_they_were_encoded(
        names in vec("([a-c]{1,3}\\.){0,4}[a-c]{1,3}", 0..40),
    ) {
        let mut out = Vec::new();
        encode_search_list(names.iter().map(String::as_str), &mut out).unwrap();
        prop_assert_eq!(decode_search_list(&out), Ok(names));
    }

    #[test]
    fn cleaned_names_are_valid(raw in vec(any::<u8>(), 0..400), text in "[a-z._-]{0,400}") {
        wire_support::check_hostname(clean_hostname(&raw).as_deref());
        wire_support::check_hostname(clean_hostname(text.as_bytes()).as_deref());
    }
}
