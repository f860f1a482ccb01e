//! Answers to bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use divan::{Bencher, black_box};
use foreshadow::wire::MessageType;
use foreshadow::wire::{
    IaKind, MessageType6, OutOption, ReplyV4, Writer6, options, options6, write_reply, write_udp4,
    write_udp6,
};

use crate::messages::{DUID, mac};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);
const ADDR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 1, 7);

/// An OFFER with what most clients ask for.
fn offer(out: &mut Vec<u8>) {
    let server = SERVER.octets();
    let option = |code, data| OutOption { code, data, required: false };
    let list = [
        OutOption {
            code: options::MESSAGE_TYPE,
            data: &[MessageType::Offer as u8],
            required: true,
        },
        OutOption { code: options::SERVER_ID, data: &server, required: true },
        option(options::LEASE_TIME, &[0, 0, 14, 16]),
        option(options::SUBNET_MASK, &[255, 255, 0, 0]),
        option(options::ROUTERS, &server),
        option(options::DNS_SERVERS, &server),
        option(options::DOMAIN_NAME, b"bench.test"),
    ];
    let none = Ipv4Addr::UNSPECIFIED;
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&mac(1).0);
    let reply = ReplyV4 {
        htype: 1,
        hlen: 6,
        hops: 0,
        xid: 1,
        secs: 0,
        flags: 0,
        ciaddr: none,
        yiaddr: ADDR,
        siaddr: none,
        giaddr: none,
        chaddr,
        sname: &[],
        file: &[],
        options: &list,
        relay_info: None,
    };
    black_box(write_reply(black_box(&reply), 548, out));
}

#[divan::bench]
fn v4_offer(bencher: Bencher<'_, '_>) {
    let mut out = Vec::with_capacity(2048);
    bencher.bench_local(|| {
        out.clear();
        offer(&mut out);
    });
}

/// The frame around it.
#[divan::bench]
fn v4_frame(bencher: Bencher<'_, '_>) {
    let (mut payload, mut out) = (Vec::new(), Vec::with_capacity(2048));
    offer(&mut payload);
    let (from, to) = (SocketAddrV4::new(SERVER, 67), SocketAddrV4::new(ADDR, 68));
    bencher.bench_local(|| {
        out.clear();
        write_udp4(&mut out, mac(0), mac(1), from, to, black_box(&payload));
    });
}

/// A REPLY with one address.
fn reply6(out: &mut Vec<u8>) {
    let mut writer = Writer6::begin(out, MessageType6::Reply, 1, 1452);
    writer.option(options6::CLIENT_ID, &[0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 1]);
    writer.option(options6::SERVER_ID, DUID);
    writer.ia(IaKind::Na, 1, 1800, 2880, |writer| {
        writer.ia_addr(black_box(ADDR6), 3600, 3600, |_| {});
    });
    writer.addrs(options6::DNS_SERVERS, &[ADDR6]);
    writer.finish().expect("room");
}

#[divan::bench]
fn v6_reply(bencher: Bencher<'_, '_>) {
    let mut out = Vec::with_capacity(2048);
    bencher.bench_local(|| {
        out.clear();
        reply6(&mut out);
    });
}

/// The frame around it.
#[divan::bench]
fn v6_frame(bencher: Bencher<'_, '_>) {
    let (mut payload, mut out) = (Vec::new(), Vec::with_capacity(2048));
    reply6(&mut payload);
    let from = SocketAddrV6::new(mac(0).link_local(), 547, 0, 0);
    let to = SocketAddrV6::new(mac(1).link_local(), 546, 0, 0);
    bencher.bench_local(|| {
        out.clear();
        write_udp6(&mut out, mac(0), mac(1), from, to, black_box(&payload));
    });
}
