//! Any bytes read as an Ethernet frame with UDP over IPv4, or with ARP.

use foreshadow::wire::{arp, read_udp4, write_udp4};

/// Plays one input.
pub fn run(frame: &[u8]) {
    read(frame);
    read(&mended(frame));
}

/// The frame with a right IP header checksum, which mutation hardly ever hits on.
fn mended(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let words = usize::from(frame.get(14).copied().unwrap_or(0) & 0xf) * 2;
    if let Some(header) = frame.get_mut(14..14 + words * 2).filter(|header| header.len() >= 20) {
        header[10..12].fill(0);
        let pairs = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = pairs.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

fn read(frame: &[u8]) {
    let strict = read_udp4(frame, true);
    let lenient = read_udp4(frame, false);
    if let Ok(udp) = lenient {
        // Checking less never reads something else.
        assert!(strict.is_err() || strict == lenient);
        let mut out = Vec::new();
        write_udp4(&mut out, udp.eth_src, udp.eth_dst, udp.src, udp.dst, udp.payload);
        assert_eq!(read_udp4(&out, true), Ok(udp));
    } else {
        assert!(strict.is_err());
    }
    if let Some(seen) = arp::read(frame) {
        let mut out = Vec::new();
        let to = seen.target;
        arp::write_request(&mut out, seen.eth_src, to, seen.sender, seen.sender_ip, seen.target_ip);
        let again = arp::read(&out).map(|again| (again.sender, again.sender_ip, again.target_ip));
        assert_eq!(again, Some((seen.sender, seen.sender_ip, seen.target_ip)));
    }
}
