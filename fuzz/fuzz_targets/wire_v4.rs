//! Any bytes read as a DHCPv4 message, or as a name; what was read can be written and read again.
#![no_main]

#[path = "../../tests/wire_support/mod.rs"]
mod wire_support;

use foreshadow::base::name::{clean_hostname, decode_name, decode_search_list, encode_search_list};
use foreshadow::wire::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::parse(data) {
        wire_support::read_everything(&message);
        for limit in [0, 548, data.len(), usize::MAX] {
            wire_support::check_rewritten(&message, limit);
        }
    }
    names(data);
});

fn names(data: &[u8]) {
    wire_support::check_hostname(clean_hostname(data).as_deref());
    let _ = decode_name(data, data.len() / 2);
    if let Ok(names) = decode_search_list(data) {
        // The root alone is written as the empty name that it is read as.
        let mut out = Vec::new();
        if encode_search_list(names.iter().map(String::as_str), &mut out).is_ok() {
            assert_eq!(decode_search_list(&out), Ok(names));
        }
    }
}
