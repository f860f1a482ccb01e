//! Packets as commented hexadecimal, each with the reading that is expected of it.
//!
//! The files of `tests/packets` are as [`packets`] says; [`reading`] tells a reading line by line.
#![allow(clippy::unwrap_used)]

#[path = "wire_support/packets.rs"]
mod packets;

use std::fmt::Write;

use foreshadow::base::name::clean_hostname;
use foreshadow::wire::Message;
use packets::hex;

#[test]
fn every_packet_reads_as_its_file_says() {
    packets::check("tests/packets", 20, reading);
}

/// Everything that the reader says of a packet, in lines. What is absent is left out.
fn reading(bytes: &[u8]) -> String {
    let mut out = String::new();
    match Message::parse(bytes) {
        Ok(message) => {
            header(&message, &mut out).unwrap();
            options(&message, &mut out).unwrap();
            typed(&message, &mut out).unwrap();
            texts(&message, &mut out).unwrap();
            relay(&message, &mut out).unwrap();
        }
        Err(error) => writeln!(out, "error: {error}").unwrap(),
    }
    out
}

fn header(m: &Message<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "op {}, hops {}, xid {:08x}, secs {}", m.op(), m.hops(), m.xid(), m.secs())?;
    writeln!(out, "hardware {}, hlen {}", m.hw(), m.hlen())?;
    if m.flags() != 0 {
        writeln!(out, "flags {:04x}, broadcast {}", m.flags(), m.is_broadcast())?;
    }
    for (name, addr) in [
        ("ciaddr", m.ciaddr()),
        ("yiaddr", m.yiaddr()),
        ("siaddr", m.siaddr()),
        ("giaddr", m.giaddr()),
    ] {
        if !addr.is_unspecified() {
            writeln!(out, "{name} {addr}")?;
        }
    }
    writeln!(out, "kind {:?}", m.kind())
}

fn options(m: &Message<'_>, out: &mut String) -> std::fmt::Result {
    for (code, data) in m.options() {
        writeln!(out, "option {code}, length {}", data.len())?;
    }
    let mut split: Vec<u8> = m.options().map(|(code, _)| code).collect();
    split.sort_unstable();
    let twice = |code: &u8| split.iter().filter(|other| *other == code).count() > 1;
    let mut joined: Vec<u8> = split.iter().copied().filter(twice).collect();
    joined.dedup();
    for code in joined {
        let data = m.option(code).unwrap();
        writeln!(out, "option {code} joined, length {}", data.len())?;
    }
    Ok(())
}

fn typed(m: &Message<'_>, out: &mut String) -> std::fmt::Result {
    for (name, addr) in [
        ("requested address", m.requested_ip()),
        ("server id", m.server_id()),
        ("subnet selection", m.subnet_selection()),
    ] {
        if let Some(addr) = addr {
            writeln!(out, "{name} {addr}")?;
        }
    }
    if let Some(secs) = m.lease_time() {
        writeln!(out, "lease time {secs}")?;
    }
    if let Some(size) = m.max_message_size() {
        writeln!(out, "maximum message size {size}")?;
    }
    if let Some(id) = m.client_id() {
        writeln!(out, "client id {}", hex(&id))?;
    }
    if let Some(list) = m.parameter_list() {
        writeln!(out, "wants {list:?}")?;
    }
    if let Some(uuid) = m.machine_uuid() {
        writeln!(out, "machine uuid {}", hex(&uuid))?;
    }
    for arch in m.archs() {
        writeln!(out, "architecture {arch}")?;
    }
    if m.rapid_commit() {
        writeln!(out, "rapid commit")?;
    }
    Ok(())
}

fn texts(m: &Message<'_>, out: &mut String) -> std::fmt::Result {
    if let Some(name) = m.hostname() {
        writeln!(
            out,
            "host name \"{}\", cleaned {:?}",
            name.escape_ascii(),
            clean_hostname(&name)
        )?;
    }
    if let Some(fqdn) = m.fqdn() {
        writeln!(out, "fqdn flags {:02x}, name {:?}", fqdn.flags(), fqdn.name())?;
    }
    if let Some(class) = m.vendor_class() {
        writeln!(out, "vendor class \"{}\"", class.escape_ascii())?;
    }
    for class in m.user_classes() {
        writeln!(out, "user class \"{}\"", class.escape_ascii())?;
    }
    if m.is_ipxe() {
        writeln!(out, "is ipxe")?;
    }
    Ok(())
}

fn relay(m: &Message<'_>, out: &mut String) -> std::fmt::Result {
    let Some(info) = m.relay_info() else { return Ok(()) };
    writeln!(
        out,
        "relay information, length {}, malformed {}",
        info.raw().len(),
        info.is_malformed()
    )?;
    for (code, data) in info.iter() {
        writeln!(out, "relay sub-option {code}: {}", hex(data))?;
    }
    if let Some(addr) = info.link_selection() {
        writeln!(out, "link selection {addr}")?;
    }
    if let Some(addr) = info.server_id_override() {
        writeln!(out, "server id override {addr}")?;
    }
    if info.source_port() {
        writeln!(out, "relay source port")?;
    }
    Ok(())
}
