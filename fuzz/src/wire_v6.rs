//! Any bytes read as a DHCPv6 message, relayed or not; the answer that repeats what was read goes
//! back through every relay and reads the same.

/// Options, as clients and relays send them.
pub const WORDS: &[&[u8]] = &[
    b"\0\x01\0\x0a\0\x03\0\x01\x02\0\0\0\0\x07",
    b"\0\x02\0\x16\0\x04our-own-duid-1234",
    b"\0\x03\0\x0c\0\0\0\x01\0\0\0\0\0\0\0\0",
    b"\0\x19\0\x0c\0\0\0\x02\0\0\0\0\0\0\0\0",
    b"\0\x05\0\x18\x20\x01\x0d\xb8\0\x01\0\0\0\0\0\0\0\0\0\x10",
    b"\0\x1a\0\x19\0\0\0\0\0\0\0\0\x38",
    b"\0\x43\0\x02\x40\0",
    b"\0\x06\0\x02\0\x17",
    b"\0\x08\0\x02\0\0",
    b"\0\x09\0\x04",
    b"\0\x0e\0\0",
    b"\0\x12\0\x04eth0",
    b"\0\x27\0\x05\x01\x02vm\0",
    b"\x0c\0",
    b"\xff\xff",
];

/// Plays one input.
pub fn run(data: &[u8]) {
    super::v6_support::read_datagram(data);
}
