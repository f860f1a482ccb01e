//! Bytes to messages.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use divan::{Bencher, black_box};
use foreshadow::base::Mac;
use foreshadow::wire::{Message, Message6, Relayed6, read_udp4, write_udp4};

use crate::messages::{self, mac};

const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 1, 7);

/// Parses, and reads what each DHCPv4 message is asked for.
fn v4(bencher: Bencher<'_, '_>, bytes: &[u8]) {
    bencher.bench(|| {
        let msg = Message::parse(black_box(bytes)).expect("a message");
        black_box((msg.kind(), msg.xid(), msg.requested_ip(), msg.server_id()));
        black_box((msg.client_id(), msg.hostname(), msg.relay_info().is_some()));
    });
}

#[divan::bench]
fn v4_discover(bencher: Bencher<'_, '_>) {
    v4(bencher, &messages::discover(1));
}

#[divan::bench]
fn v4_request(bencher: Bencher<'_, '_>) {
    v4(bencher, &messages::select(1, ADDR, SERVER));
}

#[divan::bench]
fn v4_relayed(bencher: Bencher<'_, '_>) {
    v4(bencher, &messages::relayed(1, SERVER));
}

/// The frame around a message, checksums verified.
#[divan::bench]
fn v4_frame(bencher: Bencher<'_, '_>) {
    let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let (from, to) = (SocketAddrV4::new(from, 68), SocketAddrV4::new(to, 67));
    let mut frame = Vec::new();
    write_udp4(&mut frame, mac(1), Mac::BROADCAST, from, to, &messages::discover(1));
    bencher.bench(|| read_udp4(black_box(&frame), true).map(|udp| udp.payload.len()));
}

/// Parses, and reads what each DHCPv6 message is asked for.
fn v6(msg: &Message6<'_>) {
    black_box((msg.kind(), msg.xid(), msg.client_id(), msg.server_id()));
    black_box(msg.ias().map(|ia| ia.addrs().count()).sum::<usize>());
}

#[divan::bench]
fn v6_solicit(bencher: Bencher<'_, '_>) {
    let bytes = messages::solicit(1);
    bencher.bench(|| v6(&Message6::parse(black_box(&bytes)).expect("a message")));
}

#[divan::bench]
fn v6_request(bencher: Bencher<'_, '_>) {
    let bytes = messages::request6(1, ADDR6);
    bencher.bench(|| v6(&Message6::parse(black_box(&bytes)).expect("a message")));
}

#[divan::bench]
fn v6_relayed(bencher: Bencher<'_, '_>) {
    let bytes = messages::relayed6(1, ADDR6);
    bencher.bench(|| v6(Relayed6::parse(black_box(&bytes)).expect("a message").inner()));
}
