//! The value of an option: from TOML to its bytes on the wire.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::Span;
use crate::config::encode;
use crate::config::fault::FaultKind;
use crate::config::node::Node;

use super::registry6::ntp;
use super::types::{Type, Unit};

/// Longest text within an option.
const TEXT_BYTES_MAX: usize = 1024;

/// Appends the bytes of `node` as a value of type `ty`. On `None` the fault is reported.
pub(super) fn encode(node: &Node<'_>, ty: Type, out: &mut Vec<u8>) -> Option<()> {
    if !ty.list {
        return unit(node, ty.unit, out);
    }
    // A list of one may be written bare, unless its one value is a list itself.
    let bare = !node.is_list() && !matches!(ty.unit, Unit::IpPair | Unit::PcpServer);
    let items = if bare { vec![node.clone()] } else { node.items("a list")? };
    if items.is_empty() {
        return node.bad("an empty list", "at least one value");
    }
    match ty.unit {
        Unit::SipServer => sip_servers(&items, out),
        one => all(&items, |item| unit(item, one, out)),
    }
}

/// Reads every item, so that every fault is reported; `None` if any failed.
fn all<'a>(items: &[Node<'a>], mut read: impl FnMut(&Node<'a>) -> Option<()>) -> Option<()> {
    let failed = items.iter().filter(|item| read(item).is_none()).count();
    (failed == 0).then_some(())
}

fn unit(node: &Node<'_>, unit: Unit, out: &mut Vec<u8>) -> Option<()> {
    match unit {
        Unit::Ip => out.extend(node.ip()?.octets()),
        Unit::Host => out.extend(node.unicast()?.octets()),
        Unit::Mask => out.extend(mask(node)?.octets()),
        Unit::NodeType => out.push(node_type(node)?),
        Unit::Ip6 => out.extend(node.ip6()?.octets()),
        Unit::IpPair => ip_pair(node, out)?,
        Unit::Int { bytes, min, max } => int(node.integer(min, max)?, bytes, out),
        Unit::Seconds => {
            let longest = Span::from_secs(u64::from(u32::MAX));
            out.extend(node.duration(Span::ZERO, longest)?.wire_secs().to_be_bytes());
        }
        Unit::SecondsWithin { min, max } => {
            let [min, max] = [min, max].map(|secs| Span::from_secs(u64::from(secs)));
            out.extend(node.duration(min, max)?.wire_secs().to_be_bytes());
        }
        Unit::Bool => out.push(u8::from(flag(node)?)),
        Unit::Text => out.extend(node.text(TEXT_BYTES_MAX)?.bytes()),
        Unit::LongText => {
            let text = node.text(TEXT_BYTES_MAX)?;
            out.extend((text.len() as u16).to_be_bytes());
            out.extend(text.bytes());
        }
        Unit::Domain => encode::domain(out, &labels(node)?),
        Unit::SearchDomain => encode::compressed_domain(out, &labels(node)?),
        Unit::Hex => out.extend(hex(node)?),
        Unit::Route => route(node, out)?,
        Unit::PcpServer => pcp_server(node, out)?,
        Unit::SlpAgents => slp_agents(node, out)?,
        Unit::SlpScope => slp_scope(node, out)?,
        Unit::PortParams => port_params(node, out)?,
        Unit::SixRd => sixrd(node, out)?,
        Unit::NtpServer => ntp_server(node, out)?,
        Unit::SipServer => sip_servers(std::slice::from_ref(node), out)?,
        // These are handled where the option is, since they need its table or its name.
        Unit::Suboptions | Unit::Enterprises { .. } | Unit::Refused(_) => {
            return node.bad("no plain value here", Type::one(unit).form());
        }
    }
    Some(())
}

/// The low `bytes` bytes of `n`, big endian; the range was checked.
fn int(n: i64, bytes: u8, out: &mut Vec<u8>) {
    let all = n.to_be_bytes();
    out.extend(all.iter().skip(all.len() - usize::from(bytes)));
}

/// `true` and `false`, or 1 and 0 as the RFCs number them.
fn flag(node: &Node<'_>) -> Option<bool> {
    match (node.as_bool(), node.as_integer()) {
        (Some(flag), _) => Some(flag),
        (_, Some(n @ (0 | 1))) => Some(n == 1),
        (_, Some(_)) => node.bad("number out of range", "true, false, 1 or 0"),
        _ => node.wrong_type("true or false"),
    }
}

fn mask(node: &Node<'_>) -> Option<Ipv4Addr> {
    let mask = node.ip()?;
    if mask.to_bits().leading_ones() + mask.to_bits().trailing_zeros() == 32 {
        return Some(mask);
    }
    node.bad("not a subnet mask", "as in \"255.255.255.0\"")
}

fn node_type(node: &Node<'_>) -> Option<u8> {
    match node.integer(1, 8)? {
        n @ (1 | 2 | 4 | 8) => Some(n as u8),
        _ => node.bad("no such node type", "1, 2, 4 or 8"),
    }
}

fn hex(node: &Node<'_>) -> Option<Vec<u8>> {
    if node.as_str().is_some() {
        return node.hex_bytes();
    }
    node.wrong_type("{ hex = \"de ad\" } or a string of hexadecimal digits")
}

fn labels<'a>(node: &Node<'a>) -> Option<Vec<&'a [u8]>> {
    let text = node.string("a domain name in a string")?;
    match encode::labels(text) {
        Ok(labels) => Some(labels),
        Err(why) => node.bad(format!("not a domain name: {why}"), "as in \"example.net\""),
    }
}

fn ip_pair(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let items = node.items("a list of two addresses")?;
    if items.len() != 2 {
        return node.bad(format!("a list of {}", items.len()), "two addresses");
    }
    all(&items, |item| {
        out.extend(item.ip()?.octets());
        Some(())
    })
}

/// The values of `keys` in a table that has exactly these.
fn fields<'a, const N: usize>(node: &Node<'a>, keys: [&str; N]) -> Option<[Node<'a>; N]> {
    let want = format!("a table with {}", keys.join(", "));
    let entries = node.entries(&want)?;
    for (key, place, _) in &entries {
        if !keys.contains(key) {
            let fault = crate::config::fault::Fault::new(
                FaultKind::UnknownKey,
                place,
                format!("unknown key `{key}`"),
            );
            node.push(fault.expected(want.clone()));
        }
    }
    let find = |key: &str| entries.iter().find(|(k, _, _)| *k == key).map(|(_, _, n)| n.clone());
    let found: Vec<Node<'a>> = keys.iter().filter_map(|key| find(key)).collect();
    match (<[Node<'a>; N]>::try_from(found), entries.len() == N) {
        (Ok(found), true) => Some(found),
        (Ok(_), false) => None,
        (Err(_), _) => node.bad("a key is missing", want),
    }
}

fn route(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let [to, via] = fields(node, ["to", "via"])?;
    let (to, via) = (to.prefix(), via.ip());
    encode::route(out, to?, via?);
    Some(())
}

/// Addresses (encoding 1) or names (encoding 0), RFC 3361 s3.
fn sip_servers(items: &[Node<'_>], out: &mut Vec<u8>) -> Option<()> {
    let addrs: Vec<Option<Ipv4Addr>> =
        items.iter().map(|item| item.as_str().and_then(|text| text.parse().ok())).collect();
    if let Some(addrs) = addrs.iter().copied().collect::<Option<Vec<_>>>() {
        out.push(1);
        out.extend(addrs.iter().flat_map(|addr| addr.octets()));
        return Some(());
    }
    if let Some(item) = items.iter().zip(&addrs).find_map(|(item, addr)| addr.and(Some(item))) {
        return item.bad("an address among names", "only addresses, or only names");
    }
    out.push(0);
    all(items, |item| {
        encode::domain(out, &labels(item)?);
        Some(())
    })
}

/// The one sub-option of an NTP server: its address, its group, or its name (RFC 5908 s4).
fn ntp_server(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let text = node.string("an IPv6 address or a domain name in a string")?;
    let (code, data) = match text.parse::<Ipv6Addr>() {
        Ok(group) if group.is_multicast() => (ntp::MULTICAST, group.octets().to_vec()),
        Ok(addr) => (ntp::ADDRESS, addr.octets().to_vec()),
        // An IPv4 address would pass as a name.
        Err(_) if text.contains(':') || text.parse::<Ipv4Addr>().is_ok() => {
            return node.bad("not an IPv6 address", "as in \"2001:db8::1\", or a domain name");
        }
        Err(_) => {
            let mut name = Vec::new();
            encode::domain(&mut name, &labels(node)?);
            (ntp::NAME, name)
        }
    };
    encode::suboption6(out, code, &data);
    Some(())
}

fn addresses(node: &Node<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let items = node.items("a list of addresses")?;
    all(&items, |item| {
        out.extend(item.ip()?.octets());
        Some(())
    })?;
    Some(items.len())
}

fn pcp_server(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Vec::new();
    match addresses(node, &mut bytes)? {
        1..=63 => out.push(bytes.len() as u8),
        n => return node.bad(format!("a list of {n}"), "1 to 63 addresses"),
    }
    out.extend(bytes);
    Some(())
}

fn slp_agents(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let [mandatory, addrs] = fields(node, ["mandatory", "addresses"])?;
    out.push(u8::from(flag(&mandatory)?));
    addresses(&addrs, out).map(|_| ())
}

fn slp_scope(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let [mandatory, scope] = fields(node, ["mandatory", "scope"])?;
    out.push(u8::from(flag(&mandatory)?));
    out.extend(scope.text(TEXT_BYTES_MAX)?.bytes());
    Some(())
}

fn port_params(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let [offset, psid_len, psid] = fields(node, ["offset", "psid_len", "psid"])?;
    let (offset, len) = (offset.integer(0, 15), psid_len.integer(0, 16));
    let psid_max = len.map_or(0, |len| (1 << len) - 1);
    let psid_value = psid.integer(0, psid_max);
    let (offset, len) = (offset?, len?);
    // RFC 7618 s9: the PSID stands in the leftmost `psid_len` bits of its 16.
    let psid = psid_value? << (16 - len);
    int(offset, 1, out);
    int(len, 1, out);
    int(psid, 2, out);
    Some(())
}

fn sixrd(node: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let [mask_len, prefix, relays] = fields(node, ["mask_len", "prefix", "relays"])?;
    let prefix = prefix.prefix6()?;
    int(mask_len.integer(0, 32)?, 1, out);
    out.push(prefix.len());
    out.extend(prefix.network().octets());
    match addresses(&relays, out)? {
        0 => relays.bad("an empty list", "at least one border relay"),
        _ => Some(()),
    }
}
