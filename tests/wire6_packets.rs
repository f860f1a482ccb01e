//! DHCPv6 packets as commented hexadecimal, each with the reading that is expected of it.
//!
//! The files of `tests/packets/v6` are as [`packets`] says; [`reading`] tells a reading line by
//! line.
#![allow(clippy::unwrap_used)]

#[path = "wire_support/packets.rs"]
mod packets;

use std::fmt::Write;

use foreshadow::wire::{Hop, Ia, Message6, Relayed6, duid};
use packets::hex;

#[test]
fn every_packet_reads_as_its_file_says() {
    packets::check("tests/packets/v6", 12, reading);
}

/// Everything that the reader says of a packet, in lines. What is absent is left out.
fn reading(bytes: &[u8]) -> String {
    let mut out = String::new();
    match Relayed6::parse(bytes) {
        Ok(relayed) => {
            relayed.hops().iter().try_for_each(|hop| relay(hop, &mut out)).unwrap();
            message(relayed.inner(), &mut out).unwrap();
            typed(relayed.inner(), &mut out).unwrap();
            relayed.inner().ias().try_for_each(|ia| association(&ia, &mut out)).unwrap();
        }
        Err(error) => writeln!(out, "error: {error}").unwrap(),
    }
    out
}

fn relay(hop: &Hop<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "relay {}, link {}, peer {}", hop.hop_count, hop.link_addr, hop.peer_addr)?;
    if let Some(id) = hop.interface_id() {
        writeln!(out, "interface id \"{}\"", id.escape_ascii())?;
    }
    if let Some((enterprise, id)) = hop.remote_id() {
        writeln!(out, "remote id {enterprise} \"{}\"", id.escape_ascii())?;
    }
    if let Some(id) = hop.subscriber_id() {
        writeln!(out, "subscriber id \"{}\"", id.escape_ascii())?;
    }
    if let Some(hw) = hop.client_hw() {
        writeln!(out, "client hardware {hw}")?;
    }
    if let Some(port) = hop.relay_port() {
        writeln!(out, "relay port {port}")?;
    }
    Ok(())
}

fn message(m: &Message6<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "kind {:?}, xid {:06x}", m.kind(), m.xid())?;
    for (code, data) in m.options() {
        writeln!(out, "option {code}, length {}", data.len())?;
    }
    for (name, id) in [("client id", m.client_id()), ("server id", m.server_id())] {
        let Some(id) = id else { continue };
        writeln!(out, "{name} {}", hex(id))?;
        if let Some(hw) = duid::hw(id) {
            writeln!(out, "made of {hw}")?;
        }
    }
    Ok(())
}

fn typed(m: &Message6<'_>, out: &mut String) -> std::fmt::Result {
    if let Some(elapsed) = m.elapsed() {
        writeln!(out, "elapsed {elapsed}")?;
    }
    let wanted: Vec<u16> = m.oro().collect();
    if !wanted.is_empty() {
        writeln!(out, "wants {wanted:?}")?;
    }
    for (name, there) in
        [("rapid commit", m.rapid_commit()), ("reconfigure accept", m.reconfigure_accept())]
    {
        if there {
            writeln!(out, "{name}")?;
        }
    }
    for class in m.vendor_classes() {
        for item in class.items() {
            writeln!(out, "vendor class {} \"{}\"", class.enterprise, item.escape_ascii())?;
        }
    }
    for class in m.user_classes() {
        writeln!(out, "user class \"{}\"", class.escape_ascii())?;
    }
    for arch in m.archs() {
        writeln!(out, "architecture {arch}")?;
    }
    if let Some(interface) = m.network_interface() {
        writeln!(out, "network interface {interface:?}")?;
    }
    if let Some(fqdn) = m.fqdn() {
        writeln!(out, "fqdn flags {:02x}, name {:?}", fqdn.flags(), fqdn.name())?;
    }
    if m.is_ipxe() {
        writeln!(out, "is ipxe")?;
    }
    Ok(())
}

fn association(ia: &Ia<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{:?} {:08x}, t1 {}, t2 {}", ia.kind, ia.iaid, ia.t1, ia.t2)?;
    for addr in ia.addrs() {
        writeln!(out, "address {}, {} of {} s", addr.addr, addr.preferred, addr.valid)?;
    }
    for prefix in ia.prefixes() {
        let (addr, len) = (prefix.prefix, prefix.len);
        writeln!(out, "prefix {addr}/{len}, {} of {} s", prefix.preferred, prefix.valid)?;
        if let Some(exclude) = prefix.exclude() {
            writeln!(out, "excluded {exclude}")?;
        }
    }
    if let Some(status) = ia.status() {
        writeln!(out, "status {} \"{}\"", status.code, status.text.escape_ascii())?;
    }
    Ok(())
}
