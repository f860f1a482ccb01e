//! Any bytes read as a DHCPv6 message, relayed or not; the answer that repeats what was read goes
//! back through every relay and reads the same. The bytes around messages in frames, too.
#![no_main]

#[path = "../../tests/wire_support/v6.rs"]
mod v6_support;

use foreshadow::wire::{ndp, ra, read_udp6, write_udp6};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    v6_support::read_datagram(data);
    read_frame(data);
});

fn read_frame(frame: &[u8]) {
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
    let _ = ndp::read(frame, false);
    if let Ok(seen) = ra::read(frame, false) {
        assert!(seen.prefixes().all(|info| info.prefix.len() <= 128));
        let _ = (seen.source(), seen.mtu(), seen.pref64(), seen.dns_servers().count());
        assert!(seen.search_domains().iter().all(|(_, name)| name.len() <= 253));
    }
}
