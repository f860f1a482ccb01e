//! Any bytes read as an Ethernet frame with UDP over IPv6, or with neighbour discovery.

use foreshadow::wire::ndp::NdpMessage;
use foreshadow::wire::{ndp, ra, read_udp6, write_udp6};

/// Plays one input.
pub fn run(frame: &[u8]) {
    read(frame);
    for protocol in [17, 58, 0] {
        read(&mended(frame, protocol));
    }
}

/// The frame as one of IPv6, with lengths that fit, which mutation hardly ever hits on. What it
/// carries is UDP (17), ICMPv6 (58), or what its first extension header says (0).
fn mended(frame: &[u8], protocol: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let Some(inside) = frame.len().checked_sub(54) else { return frame };
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14] = 0x60;
    frame[18..20].copy_from_slice(&(inside as u16).to_be_bytes());
    (frame[20], frame[21]) = (protocol, 255);
    if let Some(length) = frame.get_mut(58..60).filter(|_| protocol == 17) {
        length.copy_from_slice(&(inside as u16).to_be_bytes());
    }
    frame
}

fn read(frame: &[u8]) {
    let strict = read_udp6(frame, true);
    match read_udp6(frame, false) {
        Ok(udp) => {
            // Checking less never reads something else.
            assert!(strict.is_err() || strict == Ok(udp));
            let mut out = Vec::new();
            write_udp6(&mut out, udp.eth_src, udp.eth_dst, udp.src, udp.dst, udp.payload);
            assert_eq!(read_udp6(&out, true), Ok(udp));
        }
        Err(_) => assert!(strict.is_err()),
    }
    neighbours(frame);
    if let Ok(seen) = ra::read(frame, false) {
        assert!(seen.prefixes().all(|info| info.prefix.len() <= 128));
        let _ = (seen.source(), seen.mtu(), seen.pref64(), seen.dns_servers().count());
        assert!(seen.search_domains().iter().all(|(_, name)| name.len() <= 253));
    }
}

fn neighbours(frame: &[u8]) {
    let strict = ndp::read(frame, true);
    let Ok(seen) = ndp::read(frame, false) else {
        assert!(strict.is_err());
        return;
    };
    assert!(strict.is_err() || strict == Ok(seen));
    if let NdpMessage::NeighbourSolicit { target, .. } = seen.message {
        assert!(!target.is_multicast());
        let mut out = Vec::new();
        ndp::write_probe(&mut out, seen.eth_src, target);
        let probe = ndp::read(&out, true).map(|probe| (probe.src.is_unspecified(), probe.message));
        assert_eq!(probe, Ok((true, NdpMessage::NeighbourSolicit { target, source: None })));
    }
}
