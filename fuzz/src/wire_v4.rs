//! Any bytes read as a DHCPv4 message, or as a name; what was read can be written and read again.

use foreshadow::base::name::{clean_hostname, decode_name, decode_search_list, encode_search_list};
use foreshadow::wire::Message;

/// Options, as a client sends them.
pub const WORDS: &[&[u8]] = &[
    b"\x63\x82\x53\x63",
    b"\x35\x01\x01",
    b"\x35\x01\x03",
    b"\x34\x01\x03",
    b"\x32\x04\x0a\0\0\x0a",
    b"\x36\x04\x0a\0\0\x01",
    b"\x3d\x07\x01\x02\0\0\0\0\x07",
    b"\x3d\0",
    b"\x0c\x03vm1",
    b"\x51\x05\x05\0\0\x02vm",
    b"\x52\x06\x01\x01a\x02\x01b",
    b"\x50\0",
    b"\x39\x02\x02\x40",
    b"\x4d\x05\x04iPXE",
    b"\x7c\x05\0\0\0\0\0",
    b"\xc0\x0c",
    b"\xff",
];

/// Plays one input.
pub fn run(data: &[u8]) {
    if let Ok(message) = Message::parse(data) {
        super::wire_support::read_everything(&message);
        for limit in [0, 548, data.len(), usize::MAX] {
            super::wire_support::check_rewritten(&message, limit);
        }
    }
    names(data);
}

fn names(data: &[u8]) {
    super::wire_support::check_hostname(clean_hostname(data).as_deref());
    let _ = decode_name(data, data.len() / 2);
    if let Ok(names) = decode_search_list(data) {
        // The root alone is written as the empty name that it is read as.
        let mut out = Vec::new();
        if encode_search_list(names.iter().map(String::as_str), &mut out).is_ok() {
            assert_eq!(decode_search_list(&out), Ok(names));
        }
    }
}
