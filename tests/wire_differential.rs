//! Our reader and writer against dhcproto 0.15, on well-formed messages.
//!
//! dhcproto is wrong in places; each is kept out of what is generated here, with a comment that
//! begins with `FLAW` and names it. What is left must read the same in both.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};
use dhcproto::v4::{self, DhcpOption, fqdn};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use foreshadow::base::Mac;
use foreshadow::base::name::{decode_search_list, encode_name, encode_search_list};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Kind, Message, OutOption, ReplyV4, write_reply};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

/// Reads the same bytes with both and compares everything.
fn check(bytes: &[u8]) {
    let theirs = v4::Message::decode(&mut Decoder::new(bytes)).unwrap();
    compare(&Message::parse(bytes).unwrap(), &theirs);
}

fn compare(ours: &Message<'_>, theirs: &v4::Message) {
    compare_headers(ours, theirs);
    let mut codes: Vec<u8> = ours.options().map(|(code, _)| code).collect();
    codes.sort_unstable();
    codes.dedup();
    let their_codes: Vec<u8> = theirs.opts().iter().map(|(code, _)| u8::from(*code)).collect();
    assert_eq!(codes, their_codes);
    for (_, option) in theirs.opts().iter() {
        compare_option(ours, option);
    }
}

fn compare_headers(ours: &Message<'_>, theirs: &v4::Message) {
    assert_eq!(ours.op(), u8::from(theirs.opcode()));
    assert_eq!(ours.htype(), u8::from(theirs.htype()));
    assert_eq!((ours.hlen(), ours.hops()), (theirs.hlen(), theirs.hops()));
    assert_eq!((ours.xid(), ours.secs()), (theirs.xid(), theirs.secs()));
    assert_eq!(ours.flags(), u16::from(theirs.flags()));
    assert_eq!(ours.is_broadcast(), theirs.flags().broadcast());
    assert_eq!(ours.ciaddr(), theirs.ciaddr());
    assert_eq!(ours.yiaddr(), theirs.yiaddr());
    assert_eq!(ours.siaddr(), theirs.siaddr());
    assert_eq!(ours.giaddr(), theirs.giaddr());
    // FLAW: chaddr() panics where hlen is over 16; such messages are never generated here.
    assert_eq!(ours.hw().bytes(), theirs.chaddr());
    let text = |field: &[u8]| field.split(|byte| *byte == 0).next().unwrap().to_vec();
    // FLAW: fields that are full to the last byte, without a NUL, decode as empty.
    let their_text = |field: Option<&[u8]>| field.map(text).unwrap_or_default();
    assert_eq!(text(ours.sname()), their_text(theirs.sname()));
    assert_eq!(text(ours.file()), their_text(theirs.fname()));
}

fn compare_option(ours: &Message<'_>, theirs: &DhcpOption) {
    use DhcpOption as O;
    match theirs {
        O::Hostname(text) => assert_eq!(ours.hostname().unwrap(), text.as_bytes()),
        O::VendorExtensions(data) => assert_eq!(ours.option(43).unwrap(), *data),
        O::RequestedIpAddress(addr) => assert_eq!(ours.requested_ip(), Some(*addr)),
        O::AddressLeaseTime(secs) => assert_eq!(ours.lease_time(), Some(*secs)),
        O::MessageType(kind) => match ours.kind() {
            Kind::Dhcp(our) => assert_eq!(our as u8, u8::from(*kind)),
            other => panic!("{kind:?} read as {other:?}"),
        },
        O::ServerIdentifier(addr) => assert_eq!(ours.server_id(), Some(*addr)),
        O::ParameterRequestList(codes) => {
            let codes: Vec<u8> = codes.iter().map(|code| u8::from(*code)).collect();
            assert_eq!(ours.parameter_list().unwrap(), codes);
        }
        O::MaxMessageSize(size) => assert_eq!(ours.max_message_size(), Some(*size)),
        O::ClassIdentifier(data) => assert_eq!(ours.vendor_class().unwrap(), *data),
        O::ClientIdentifier(data) => assert_eq!(ours.client_id().unwrap(), *data),
        O::BootfileName(data) => assert_eq!(ours.option(67).unwrap(), *data),
        O::UserClass(data) => assert_eq!(ours.user_class().unwrap(), *data),
        O::RapidCommit => assert!(ours.rapid_commit()),
        O::RelayAgentInformation(info) => compare_relay(ours, info),
        O::ClientSystemArchitecture(arch) => {
            assert_eq!(ours.archs().collect::<Vec<_>>(), [u16::from(*arch)]);
        }
        O::ClientMachineIdentifier(data) => {
            assert_eq!(ours.machine_uuid().unwrap()[..], data[1..]);
        }
        O::DisableSLAAC(value) => assert_eq!(ours.auto_configure(), Some(value.clone() as u8)),
        O::SubnetSelection(addr) => assert_eq!(ours.subnet_selection(), Some(*addr)),
        O::DomainSearch(names) => {
            let names: Vec<String> =
                names.iter().map(|name| without_dot(name.to_ascii())).collect();
            assert_eq!(decode_search_list(&ours.option(119).unwrap()), Ok(names));
        }
        O::ClientFQDN(fqdn) => {
            let our = ours.fqdn().unwrap();
            assert_eq!(our.flags(), u8::from(fqdn.flags()));
            assert_eq!((our.rcode1(), our.rcode2()), (fqdn.r1(), fqdn.r2()));
            assert_eq!(our.name().unwrap().as_ref(), without_dot(fqdn.domain().to_ascii()));
        }
        O::Unknown(option) => {
            assert_eq!(ours.option(option.code().into()).unwrap(), option.data());
        }
        other => panic!("{other:?} is not generated"),
    }
}

fn compare_relay(ours: &Message<'_>, theirs: &RelayAgentInformation) {
    let info = ours.relay_info().unwrap();
    assert!(!info.is_malformed());
    assert_eq!(info.iter().count(), theirs.iter().count());
    for (code, sub) in theirs.iter() {
        match sub {
            RelayInfo::AgentCircuitId(data) => assert_eq!(info.circuit_id().unwrap(), data),
            RelayInfo::AgentRemoteId(data) => assert_eq!(info.remote_id().unwrap(), data),
            RelayInfo::SubscriberId(data) => assert_eq!(info.subscriber_id().unwrap(), data),
            RelayInfo::LinkSelection(addr) => assert_eq!(info.link_selection(), Some(*addr)),
            RelayInfo::ServerIdentifierOverride(addr) => {
                assert_eq!(info.server_id_override(), Some(*addr));
            }
            RelayInfo::Unknown(sub) => {
                assert_eq!(info.sub(u8::from(*code)).unwrap(), sub.data());
            }
            other => panic!("{other:?} is not generated"),
        }
    }
}

fn without_dot(name: String) -> String {
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

fn name() -> impl Strategy<Value = String> {
    // Lower case, since dhcproto's canonical form is.
    "([a-z][a-z0-9]{0,20}\\.){0,4}[a-z][a-z0-9]{0,20}"
}

fn bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), len)
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_name(name, &mut out).unwrap();
    out
}

/// Sub-options of option 82.
fn relay_info() -> impl Strategy<Value = Vec<u8>> {
    // FLAW: sub-options are kept in a map, so their order and repetitions are lost: each comes
    // once here, and order is not compared. Sub-options 4 and 10 decode without their length.
    let sub = |code: u8| match code {
        5 | 11 => bytes(4).boxed(),
        _ => bytes(0..30).boxed(),
    };
    let codes = prop::sample::subsequence(vec![1u8, 2, 5, 6, 11, 151, 200], 0..7);
    codes.prop_shuffle().prop_flat_map(move |codes| {
        let subs: Vec<_> = codes.into_iter().map(|code| (Just(code), sub(code))).collect();
        subs.prop_map(|subs| {
            let parts =
                subs.iter().map(|(code, data)| [&[*code, data.len() as u8], &data[..]].concat());
            parts.collect::<Vec<_>>().concat()
        })
    })
}

/// A value that is well-formed for the option.
fn value(code: u8) -> BoxedStrategy<Vec<u8>> {
    match code {
        // FLAW: text that is not UTF-8 ends the decoding of all options.
        12 => "[ -~]{1,300}".prop_map(String::into_bytes).boxed(),
        50 | 51 | 54 | 118 => bytes(4).boxed(),
        // FLAW: a fixed-size option of the wrong length ends the decoding of all that follow.
        53 => (1..=18u8).prop_map(|kind| vec![kind]).boxed(),
        57 => bytes(2).boxed(),
        80 => Just(vec![]).boxed(),
        81 => (0..16u8, name())
            // FLAW: names are taken for wire form even where the E bit says ASCII.
            .prop_map(|(flags, name)| [&[flags | 4, 0, 0], &wire_name(&name)[..]].concat())
            .boxed(),
        82 => relay_info().boxed(),
        // FLAW: of several architectures only the first is read.
        93 => bytes(2).boxed(),
        97 => bytes(16).prop_map(|uuid| [&[0], &uuid[..]].concat()).boxed(),
        116 => (0..=1u8).prop_map(|value| vec![value]).boxed(),
        119 => vec(name(), 1..6)
            .prop_map(|names| {
                let mut out = Vec::new();
                encode_search_list(names.iter().map(String::as_str), &mut out).unwrap();
                out
            })
            .boxed(),
        _ => bytes(1..600).boxed(),
    }
}

/// Options of a message, each code once, in any order.
fn options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    // FLAW: 108 (IPv6-only preferred) is taken for 106, 37 decodes as 23; neither is here.
    // FLAW: 52 (overload) is decoded but not obeyed; it is not here.
    let codes = vec![
        12u8, 43, 50, 51, 53, 54, 55, 57, 60, 61, 67, 77, 80, 81, 82, 93, 97, 116, 118, 119, 224,
        254,
    ];
    prop::sample::subsequence(codes, 1..=22).prop_shuffle().prop_flat_map(|codes| {
        codes.into_iter().map(|code| (Just(code), value(code))).collect::<Vec<_>>()
    })
}

proptest! {
    #[test]
    fn requests_read_the_same(
        options in options(),
        xid in any::<u32>(),
        (secs, flags) in (any::<u16>(), any::<u16>()),
        (ciaddr, giaddr) in (any::<u32>(), any::<u32>()),
        chaddr in bytes(0..=16),
        (sname, file) in ("[a-z]{0,63}", "[a-z]{0,127}"),
        pads in btree_map(0..22usize, 1..4usize, 0..4),
    ) {
        let mut request = RequestV4::bootp(MAC)
            .xid(xid)
            .secs(secs)
            .flags(flags)
            .ciaddr(ciaddr.into())
            .giaddr(giaddr.into())
            .chaddr(1, chaddr.len() as u8, &chaddr)
            .sname(sname.as_bytes())
            .file(file.as_bytes());
        for (i, (code, data)) in options.iter().enumerate() {
            // FLAW: pieces of one option that do not stand together replace each other, so a
            // split option is never interrupted here.
            request = request.option(*code, data);
            request = request.raw(&vec![0; pads.get(&i).copied().unwrap_or(0)]);
        }
        check(&request.build());
        check(&request.build_unpadded());
    }

    #[test]
    fn replies_read_the_same(
        options in options(),
        relay_info in prop::option::of(relay_info()),
        (sname, file) in ("[a-z]{1,63}", "[a-z]{1,127}"),
    ) {
        let options: Vec<OutOption<'_>> = options
            .iter()
            .filter(|(code, _)| *code != 82)
            .map(|(code, data)| OutOption { code: *code, data, required: true })
            .collect();
        let reply = ReplyV4 {
            htype: 1, hlen: 6, hops: 0, xid: 7, secs: 0, flags: 0x8000,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::LOCALHOST,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: [9; 16],
            sname: sname.as_bytes(),
            file: file.as_bytes(),
            options: &options,
            relay_info: relay_info.as_deref(),
        };
        let mut out = Vec::new();
        prop_assert!(write_reply(&reply, 65_507, &mut out).is_empty());
        check(&out);
    }

    #[test]
    fn what_dhcproto_writes_we_read(
        xid in any::<u32>(),
        (addr, secs, size) in (any::<u32>(), any::<u32>(), any::<u16>()),
        wants in bytes(1..300),
        id in bytes(1..300),
        names in vec(name(), 1..6),
        circuit in bytes(0..30),
    ) {
        let mut message = v4::Message::new_with_id(
            xid,
            addr.into(),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
            &MAC.0,
        );
        let mut relay = RelayAgentInformation::default();
        relay.insert(RelayInfo::AgentCircuitId(circuit));
        relay.insert(RelayInfo::LinkSelection(addr.into()));
        let fqdn = fqdn::ClientFQDN::new(
            fqdn::FqdnFlags::default().set_e(true),
            format!("{}.", names[0]).parse().unwrap(),
        );
        let domains = names.iter().map(|name| format!("{name}.").parse().unwrap()).collect();
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(v4::MessageType::Request));
        options.insert(DhcpOption::RequestedIpAddress(addr.into()));
        options.insert(DhcpOption::AddressLeaseTime(secs));
        options.insert(DhcpOption::MaxMessageSize(size));
        // FLAW: an option without data is not written at all, so all have some here.
        options.insert(DhcpOption::ClientIdentifier(id));
        options.insert(DhcpOption::ParameterRequestList(
            wants.iter().map(|code| (*code).into()).collect(),
        ));
        options.insert(DhcpOption::DomainSearch(domains));
        options.insert(DhcpOption::ClientFQDN(fqdn));
        options.insert(DhcpOption::RelayAgentInformation(relay));
        let mut out = Vec::new();
        message.encode(&mut Encoder::new(&mut out)).unwrap();
        compare(&Message::parse(&out).unwrap(), &message);
    }
}
