//! The words that both families share: times, addresses, bytes, clients.

use std::net::{Ipv4Addr, Ipv6Addr};

use foreshadow::base::{Mac, Resource, Span};

pub(crate) fn addr(text: &str) -> Result<Ipv4Addr, String> {
    let full = text.strip_prefix('.').map(|last| format!("10.0.0.{last}"));
    full.as_deref().unwrap_or(text).parse().map_err(|_| format!("no address: {text}"))
}

pub(crate) fn span(text: &str) -> Result<Span, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or(format!("no unit: {text}"))?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| format!("no time: {text}"))?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("no time: {text}")),
    };
    Ok(Span(number * ms))
}

pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix("0x") {
        Some(hex) => foreshadow::base::addr::parse_hex(hex).ok_or(format!("no hex: {text}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

pub(crate) fn mac(text: &str) -> Result<Mac, String> {
    let n: u8 =
        text.strip_prefix('c').and_then(|n| n.parse().ok()).ok_or(format!("who? {text}"))?;
    Ok(Mac([2, 0, 0, 0, 0, n]))
}

/// An IPv6 address; `.7` is short for 2001:db8:1::7.
pub(crate) fn addr6(text: &str) -> Result<Ipv6Addr, String> {
    let full = text.strip_prefix('.').map(|last| format!("2001:db8:1::{last}"));
    full.as_deref().unwrap_or(text).parse().map_err(|_| format!("no IPv6 address: {text}"))
}

/// An IPv6 prefix as an IA names it; `.aa00:100/56` is short for 2001:db8:aa00:100::/56.
pub(crate) fn prefix6(text: &str) -> Result<(Ipv6Addr, u8), String> {
    let (addr, len) = text.split_once('/').ok_or(format!("no prefix: {text}"))?;
    let full = addr.strip_prefix('.').map(|middle| format!("2001:db8:{middle}::"));
    let addr = full.as_deref().unwrap_or(addr).parse();
    let len = len.parse().map_err(|_| format!("no length: {text}"))?;
    Ok((addr.map_err(|_| format!("no prefix: {text}"))?, len))
}

/// An address of either family, or a prefix.
pub(crate) fn resource(text: &str) -> Result<Resource, String> {
    if text.contains('/') {
        return prefix6(text).map(|(addr, len)| Resource::Prefix6(addr, len));
    }
    match text.contains(':') {
        true => addr6(text).map(Resource::V6),
        false => addr(text).map(Resource::V4),
    }
}

/// `7` or `7[A,B]`: an IAID and what stands in the brackets.
pub(crate) fn ia(text: &str) -> Result<(u32, Vec<&str>), String> {
    let (iaid, inside) = match text.strip_suffix(']') {
        Some(open) => open.split_once('[').ok_or(format!("no IA: {text}"))?,
        None => (text, ""),
    };
    let iaid = iaid.parse().map_err(|_| format!("no IAID: {text}"))?;
    Ok((iaid, inside.split(',').filter(|item| !item.is_empty()).collect()))
}

/// The DUID of a client whose line names none: its MAC in a DUID-LL (RFC 9915 s11.4).
pub(crate) fn duid(mac: Mac) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac.0].concat()
}
