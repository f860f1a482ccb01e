//! Any bytes read as a DHCPv6 message, relayed or not; the answer that repeats what was read goes
//! back through every relay and reads the same.
#![no_main]

#[path = "../../tests/wire_support/v6.rs"]
mod v6_support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    v6_support::read_datagram(data);
});
