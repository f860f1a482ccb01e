//! Published flaws of DHCP servers, as far as they are about reading bytes: one test each.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};

use foreshadow::base::Mac;
use foreshadow::base::name::{NameError, clean_hostname, decode_name, decode_search_list};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{FrameError, Kind, Message, MessageType, WireError, read_udp4, write_udp4};

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

fn discover() -> RequestV4 {
    RequestV4::new(MessageType::Discover, MAC)
}

#[test]
fn hlen_over_16() {
    for hlen in 17..=255 {
        let bytes = discover().chaddr(1, hlen, &[0xee; 16]).build();
        assert_eq!(Message::parse(&bytes).unwrap_err(), WireError::BadHardwareLength(hlen));
    }
}

#[test]
fn hlen_0() {
    let bytes = discover().chaddr(1, 0, &[0xee; 16]).build();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.hlen(), message.hw().bytes()), (0, [].as_slice()));
}

#[test]
fn zero_length_client_id() {
    let bytes = discover().option(61, &[]).build();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.client_id().as_deref(), Some([].as_slice()), "there, and told to be empty");
}

/// A client id may hold a DUID (RFC 4361), and one of any length comes through whole.
#[test]
fn duid_over_128_bytes() {
    for len in [129, 255, 256, 2000] {
        let id = [&[0xff, 0, 0, 0, 1][..], &vec![0xab; len]].concat();
        let bytes = discover().option(61, &id).build();
        assert_eq!(Message::parse(&bytes).unwrap().client_id().unwrap(), id);
    }
}

#[test]
fn option_length_past_the_end() {
    for tail in [
        &b"\x0c"[..],
        b"\x0c\x01",
        b"\x3d\xff\x01",
        b"\x32\x04\x0a\x00\x00",
        b"\x52\xff\x01\x20",
        b"\x35\x05\x01",
        b"\xfe\xff",
    ] {
        let mut bytes = discover().raw(tail).build_unpadded();
        // Without its END, the tail is the end of the packet.
        bytes.pop();
        let want = WireError::Truncated { code: tail[0] };
        assert_eq!(Message::parse(&bytes).unwrap_err(), want, "{tail:x?}");
    }
}

#[test]
fn option_split_over_sname_and_file_with_lies() {
    // A piece that claims more than its field holds does not read on into the next field.
    for (file, sname) in [
        (&[12, 200, b'x'][..], &[][..]),
        (&[], &[12, 63, b'x']),
        (&[0x37; 128], &[1; 64]),
        (&[], &[1; 64]),
    ] {
        let bytes = discover().option(52, &[3]).file(file).sname(sname).build();
        let error = Message::parse(&bytes).unwrap_err();
        assert!(matches!(error, WireError::Truncated { .. }), "{error}");
    }
    // The last byte of a field is a code without a length.
    let mut file = [0; 128];
    file[127] = 12;
    let bytes = discover().option(52, &[1]).file(&file).build();
    assert_eq!(Message::parse(&bytes).unwrap_err(), WireError::Truncated { code: 12 });
    // The same code in all three fields, split at its worst: joined, and bounded.
    let bytes = discover()
        .option(55, &[1; 255])
        .option(52, &[3])
        .file(&[&[55, 126][..], &[2; 126]].concat())
        .sname(&[&[55, 62][..], &[3; 62]].concat())
        .build();
    let list = Message::parse(&bytes).unwrap().parameter_list().unwrap().into_owned();
    assert_eq!(list, [&[1; 255][..], &[2; 126], &[3; 62]].concat());
}

#[test]
fn fqdn_label_over_63_bytes() {
    let name = |data: &[u8]| {
        let bytes = discover().option(81, &[b"\x05\0\0", data].concat()).build();
        Message::parse(&bytes).unwrap().fqdn().unwrap().name()
    };
    let label = |len: u8| [&[len][..], &vec![b'a'; len.into()], &[0]].concat();
    assert_eq!(name(&label(63)).unwrap().len(), 63);
    for len in [64, 100, 191] {
        assert_eq!(name(&label(len)), None, "{len}");
    }
    assert_eq!(decode_name(&label(64), 0), Err(NameError::BadLength(64)));
    // Many labels of legal length make a name that is too long.
    assert_eq!(name(&label(50)[..51].repeat(6)), None);
}

#[test]
fn cyclic_name_compression() {
    for cyclic in [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\xc0\x02\xc0\x00", b"\x01a\xc0\x02"] {
        assert!(decode_name(cyclic, 0).is_err(), "{cyclic:x?}");
        assert!(decode_search_list(cyclic).is_err(), "{cyclic:x?}");
        let bytes = discover().option(81, &[b"\x05\0\0", cyclic].concat()).build();
        assert_eq!(Message::parse(&bytes).unwrap().fqdn().unwrap().name(), None);
    }
}

#[test]
fn hostname_that_is_empty_once_cleaned() {
    for raw in [&b""[..], b"\0", b"---", b"...", b"_", b"\xff\xff", b"\r\n", b"-.-.-"] {
        let bytes = discover().option(12, raw).build();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(clean_hostname(&message.hostname().unwrap()), None, "{raw:x?}");
    }
}

/// Text that goes to logs, lease files and hosts files holds no separators and no newlines.
#[test]
fn text_fields_that_hold_separators_and_newlines() {
    for raw in [&b"a\nb"[..], b"a,b", b"a b", b"a\tb", b"a;b\r", b"a#b", b"a\"b", b"a\x1b[31mb"] {
        let name = clean_hostname(raw).unwrap();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        assert!(name.chars().all(plain), "{name:?}");
    }
}

#[test]
fn option_within_option_recursion() {
    let mut nested = Vec::new();
    while nested.len() <= 253 {
        nested.splice(0..0, [82, nested.len() as u8]);
    }
    let bytes = discover().relay_info(&nested).build();
    let message = Message::parse(&bytes).unwrap();
    let info = message.relay_info().unwrap();
    assert_eq!(info.raw(), nested);
    // Sub-options are read one level deep, whatever they hold.
    assert_eq!(info.iter().count(), 1);
    assert_eq!(info.sub(82), Some(&nested[2..]));
}

/// RFC 3046 s2: an overrun within option 82 does not reach what follows it.
#[test]
fn truncated_relay_information() {
    for data in [&b"\x01"[..], b"\x01\x05ab", b"\x01\x01a\x02\xff", b"\xff"] {
        let bytes = discover().relay_info(data).option(12, b"next").build();
        let message = Message::parse(&bytes).unwrap();
        let info = message.relay_info().unwrap();
        assert!(info.is_malformed(), "{data:x?}");
        assert_eq!(info.sub(1), None, "what stands before the lie is not believed either");
        assert_eq!(info.raw(), data);
        assert_eq!(message.hostname().as_deref(), Some(b"next".as_slice()));
    }
}

#[test]
fn ip_or_udp_length_that_disagrees_with_the_frame() {
    let addr = |port| SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
    let mut frame = Vec::new();
    write_udp4(&mut frame, MAC, Mac::BROADCAST, addr(68), addr(67), &discover().build());
    assert!(read_udp4(&frame, true).is_ok());
    let ip_header = 14..34;
    for total in [0u16, 1, 19, 20, 27, 329, 65535] {
        let mut bad = frame.clone();
        bad[16..18].copy_from_slice(&total.to_be_bytes());
        bad[24..26].fill(0);
        let sum = internet_checksum(&bad[ip_header.clone()]);
        bad[24..26].copy_from_slice(&sum.to_be_bytes());
        let error = read_udp4(&bad, true).unwrap_err();
        let told =
            matches!(error, FrameError::BadTotalLength { .. } | FrameError::BadUdpLength { .. });
        assert!(told, "total {total}: {error}");
    }
    for len in [0u16, 4, 7, 309, 5000, 65535] {
        let mut bad = frame.clone();
        bad[38..40].copy_from_slice(&len.to_be_bytes());
        bad[40..42].fill(0);
        let error = read_udp4(&bad, true).unwrap_err();
        assert!(matches!(error, FrameError::BadUdpLength { .. }), "udp {len}: {error}");
    }
}

fn internet_checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn message_of_240_bytes_through_a_relay() {
    let bytes = discover().hops(1).giaddr(Ipv4Addr::new(10, 1, 2, 3)).build();
    let message = Message::parse(&bytes[..240]).unwrap();
    assert_eq!(message.kind(), Kind::Bootp);
    assert_eq!(message.giaddr(), Ipv4Addr::new(10, 1, 2, 3));
    assert_eq!(message.options().count(), 0);
}

#[test]
fn a_flood_of_tiny_options_is_bounded() {
    let bytes = discover().raw(&[12, 0].repeat(32_000)).build();
    assert_eq!(Message::parse(&bytes).unwrap_err(), WireError::TooManyOptions);
}

#[test]
fn zero_length_options_of_every_code() {
    for code in 1..=254 {
        let bytes = discover().option(code, &[]).build();
        let message = Message::parse(&bytes).unwrap();
        assert!(message.has(code));
        if code != 53 {
            assert_eq!(message.option(code).as_deref(), Some([].as_slice()));
        }
    }
}
