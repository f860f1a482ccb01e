//! Packets as commented hexadecimal, each with the reading that is expected of it.
//!
//! A file in `tests/packets` holds bytes as pairs of hexadecimal digits (`00*64` repeats one;
//! `#` starts a comment), then a line `---`, then the reading, line by line as [`reading`] tells
//! it. To add a packet, write the bytes and `---`, run the test, and check what it says was read.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use foreshadow::base::name::clean_hostname;
use foreshadow::wire::Message;

#[test]
fn every_packet_reads_as_its_file_says() {
    let mut wrong = String::new();
    let files = packet_files();
    assert!(files.len() > 20, "only {} packets found", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (hex, want) = text.split_once("---\n").unwrap();
        let got = reading(&bytes(hex));
        if got != want {
            writeln!(wrong, "== {}\nwant:\n{want}\ngot:\n{got}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn packet_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packets");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "hex"));
    files.sort();
    files
}

fn bytes(hex: &str) -> Vec<u8> {
    let code = hex.lines().flat_map(|line| line.split('#').next());
    code.flat_map(str::split_whitespace)
        .flat_map(|token| {
            let (byte, count) = token.split_once('*').unwrap_or((token, "1"));
            std::iter::repeat_n(u8::from_str_radix(byte, 16).unwrap(), count.parse().unwrap())
        })
        .collect()
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

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if pairs.is_empty() { "(empty)".into() } else { pairs.join(" ") }
}
