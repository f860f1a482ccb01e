//! A server that decides nothing and keeps nothing: each client has the address that its hardware
//! address says. What it costs is what packets cost here.

use std::net::Ipv4Addr;

use foreshadow::base::{LinkId, Mac};
use foreshadow::net::{FrameSocket, Mode, Outbox, Poller, RecvBatch, Token};

use crate::speech::SERVER;

/// Where the payload of UDP is in a frame, with an IPv4 header without options.
const PAYLOAD: usize = 42;
const FRAME: usize = PAYLOAD + 300;
/// From the cookie on; the byte that follows option 53's length is the message type.
const OPTIONS: [u8; 37] = [
    99, 130, 83, 99, 53, 1, 2, 54, 4, 10, 77, 0, 1, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 0, 0, 3,
    4, 10, 77, 0, 1, 6, 4, 10, 77, 0, 1,
];
const KIND: usize = PAYLOAD + 242;

/// Answers DISCOVER and REQUEST on this interface until it is killed.
pub(crate) fn respond(link: u32) -> std::io::Result<()> {
    let socket = FrameSocket::dhcp(LinkId(link), Mode::Serve)?;
    let mut poller = Poller::new()?;
    poller.add(&socket, Token(0))?;
    let (mut batch, mut out) = (RecvBatch::default(), Outbox::default());
    loop {
        let count = socket.recv(&mut batch)?;
        for i in 0..count {
            let reply = FrameSocket::frame(&batch, i).and_then(|frame| reply(frame.bytes));
            reply.iter().for_each(|reply| out.push(|bytes| bytes.extend_from_slice(reply)));
        }
        if count == 0 {
            poller.wait(None)?.for_each(drop);
        } else {
            socket.send(&mut out);
        }
    }
}

fn reply(request: &[u8]) -> Option<[u8; FRAME]> {
    // The generator puts the type of the message first.
    let kind = match request.get(KIND - 2..=KIND)? {
        [53, 1, 1] => 2,
        [53, 1, 3] => 5,
        _ => return None,
    };
    let mac = Mac(request.get(PAYLOAD + 28..PAYLOAD + 34)?.try_into().ok()?);
    let number = u32::from_be_bytes([mac.0[2], mac.0[3], mac.0[4], mac.0[5]]);
    let addr = Ipv4Addr::from_bits(0x0a4d_1000 + number % 61_000);
    let mut frame = [0; FRAME];
    let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &mac.0);
    put(6, &[2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
    put(16, &((FRAME - 14) as u16).to_be_bytes());
    put(22, &[64, 17]);
    put(26, &SERVER.octets());
    put(30, &addr.octets());
    put(34, &[0, 67, 0, 68]);
    put(38, &((FRAME - 34) as u16).to_be_bytes());
    put(PAYLOAD, &[2, 1, 6, 0]);
    put(PAYLOAD + 4, request.get(PAYLOAD + 4..PAYLOAD + 8)?);
    put(PAYLOAD + 16, &addr.octets());
    put(PAYLOAD + 28, &mac.0);
    put(PAYLOAD + 236, &OPTIONS);
    put(KIND, &[kind]);
    put(PAYLOAD + 236 + OPTIONS.len(), &[255]);
    let sum = pnet::util::checksum(&frame[14..34], 5);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    Some(frame)
}
