//! Router advertisements of one network: defaults from its subnets and options, and times that
//! fit each other (RFC 4861 s6.2.1, RFC 8106, RFC 8781).

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::{Prefix6, Span, name};
use crate::config::fault::{Fault, FaultKind, Sink};
use crate::config::node::At;
use crate::config::policy::{OptionSet6, RaPolicy, RaPrefix, Subnet6};
use crate::config::raw6::{RawRa, RawRaPrefix};

use super::network6::Outer;

const DNS_SERVERS: u16 = 23;
const DOMAIN_SEARCH: u16 = 24;

/// RFC 4861 s6.2.1.
const MAX_INTERVAL: Span = Span::from_secs(600);
const ROUTER_LIFETIME_MAX: Span = Span::from_secs(9000);
const VALID: Span = Span::from_secs(30 * 86_400);
const PREFERRED: Span = Span::from_secs(7 * 86_400);
/// RFC 8781 s4: 13 bits of eight seconds.
const PREF64_LIFETIME_MAX: Span = Span::from_secs(65_528);

/// The most that fits every link: 1280 bytes (RFC 8200 s5) without the IPv6 header.
const ADVERT_MAX: usize = 1280 - 40;

/// What the defaults are made of.
pub(super) struct Links<'a> {
    pub(super) outer: &'a Outer<'a>,
    pub(super) relays: &'a [Prefix6],
    pub(super) subnets: &'a [Subnet6],
    /// Whether an address is reserved.
    pub(super) reserved: bool,
}

impl Links<'_> {
    /// The subnets on the link itself.
    fn local(&self) -> impl Iterator<Item = &Subnet6> {
        let relayed = |s: &Subnet6| self.relays.iter().any(|r| r.overlaps(&s.prefix));
        let on_link = move |s: &&Subnet6| s.interface_ids.is_empty() && !relayed(s);
        self.subnets.iter().filter(move |s| self.outer.interfaces && on_link(s))
    }

    fn gives(&self) -> bool {
        self.reserved || self.local().any(|s| !s.pools.is_empty() || !s.delegations.is_empty())
    }

    /// The values of an option, each from the nearest level of a local subnet that says it.
    fn option(&self, code: u16) -> Vec<&[u8]> {
        let mut out: Vec<&[u8]> = Vec::new();
        let outer = [&self.outer.network.options6, &self.outer.top.options6];
        let outer = outer.into_iter().find_map(|set| value_of(set, code));
        for subnet in self.local() {
            let said = value_of(&subnet.settings.options6, code).or(outer);
            out.extend(said.filter(|data| !out.contains(data)));
        }
        if self.local().next().is_none() {
            out.extend(outer);
        }
        out
    }

    fn says_options(&self) -> bool {
        let outer = [&self.outer.network.options6, &self.outer.top.options6];
        let mut sets = self.local().map(|s| &s.settings.options6).chain(outer);
        sets.any(|set| !set.entries.is_empty())
    }
}

fn value_of(set: &OptionSet6, code: u16) -> Option<&[u8]> {
    set.get(code).first().map(|option| &*option.data)
}

/// The advertisements of the policy.
pub(super) fn build(raw: RawRa, links: &Links<'_>, sink: &Sink) -> RaPolicy {
    let max_interval = raw.max_interval.as_ref().map_or(MAX_INTERVAL, |at| at.value);
    let min_interval = min_interval(&raw, max_interval, sink);
    let thrice = Span(max_interval.0 * 3);
    let managed = raw.managed.unwrap_or_else(|| links.gives());
    let pref64_lifetime = raw.pref64_lifetime.as_ref().map_or(thrice, |at| at.value);
    let router_lifetime = router_lifetime(&raw, max_interval, sink);
    if let Some(at) = raw.dns_lifetime.as_ref().filter(|at| at.value < max_interval) {
        let message = format!("DNS servers for {}, told every {max_interval}", at.value);
        let fault = Fault::new(FaultKind::Suspicious, &at.place, message);
        sink.push(fault.warning().expected("at least max_interval (RFC 8106 s5.1)"));
    }
    let place = raw.place.clone();
    let policy = RaPolicy {
        managed,
        other: raw.other.unwrap_or_else(|| managed || links.says_options()),
        router: raw.router,
        router_lifetime,
        min_interval,
        max_interval,
        mtu: raw.mtu,
        prefixes: match raw.prefixes {
            Some(raw) => prefixes(raw, sink),
            None => default_prefixes(links),
        },
        rdnss: raw.rdnss.unwrap_or_else(|| addresses(links)),
        dnssl: raw.dnssl.unwrap_or_else(|| names(links)),
        dns_lifetime: raw.dns_lifetime.map_or(thrice, |at| at.value),
        pref64: raw.pref64.map(|prefix| (prefix, eights(pref64_lifetime))),
        goodbye: raw.goodbye,
    };
    let bytes = size_of(&policy);
    if bytes > ADVERT_MAX {
        let message = format!("an advertisement of {bytes} bytes");
        let fault = Fault::new(FaultKind::Conflict, &place, message);
        sink.push(fault.expected(format!(
            "at most {ADVERT_MAX}, which fit every link: fewer prefixes, rdnss or dnssl"
        )));
    }
    policy
}

/// How long the advertisement is on the wire (RFC 4861 s4.2, s4.6; RFC 8106 s5; RFC 8781 s4).
fn size_of(policy: &RaPolicy) -> usize {
    const HEADER_AND_SOURCE: usize = 16 + 8;
    let list = |bytes: usize| if bytes > 0 { (8 + bytes).next_multiple_of(8) } else { 0 };
    let names = policy.dnssl.iter().map(|name| name.len() + 2).sum();
    HEADER_AND_SOURCE
        + policy.mtu.map_or(0, |_| 8)
        + 32 * policy.prefixes.len()
        + list(16 * policy.rdnss.len())
        + list(names)
        + policy.pref64.map_or(0, |_| 16)
}

/// The least interval: a third of the most, or three quarters where that is below nine seconds.
fn min_interval(raw: &RawRa, max: Span, sink: &Sink) -> Span {
    let Some(at) = &raw.min_interval else {
        return if max >= Span::from_secs(9) { Span(max.0 / 3) } else { Span(max.0 * 3 / 4) };
    };
    let limit = Span(max.0 * 3 / 4);
    if at.value > limit {
        let message = format!("min_interval {} is over 3/4 of max_interval {max}", at.value);
        let fault = Fault::new(FaultKind::Conflict, &at.place, message);
        let fault = fault.expected(format!("3s to {limit} (RFC 4861 s6.2.1)"));
        sink.push(match &raw.max_interval {
            Some(max) => fault.related(&max.place, "against this"),
            None => fault,
        });
    }
    at.value
}

fn router_lifetime(raw: &RawRa, max_interval: Span, sink: &Sink) -> Span {
    let Some(at) = &raw.router_lifetime else {
        return Span(max_interval.0 * 3).min(ROUTER_LIFETIME_MAX);
    };
    if !raw.router {
        let message = "a router's lifetime, but this host is none";
        let fault = Fault::new(FaultKind::Conflict, &at.place, message);
        sink.push(fault.expected("add router = true"));
    } else if at.value < max_interval {
        let message = format!("a router for {}, told every {max_interval}", at.value);
        let fault = Fault::new(FaultKind::Conflict, &at.place, message);
        let expected = format!("{max_interval} to {ROUTER_LIFETIME_MAX} (RFC 4861 s6.2.1)");
        sink.push(fault.expected(expected));
    }
    at.value
}

/// Rounded up to eight seconds (RFC 8781 s4.1).
fn eights(lifetime: Span) -> Span {
    Span(lifetime.0.div_ceil(8000) * 8000).min(PREF64_LIFETIME_MAX)
}

fn prefixes(raw: Vec<RawRaPrefix>, sink: &Sink) -> Vec<RaPrefix> {
    let places: Vec<&At<Prefix6>> = raw.iter().map(|p| &p.prefix).collect();
    super::duplicates(&places, |prefix| format!("{prefix} is advertised already"), sink);
    let mut out: Vec<RaPrefix> = raw.into_iter().map(|p| prefix(p, sink)).collect();
    out.sort_by_key(|p| p.prefix);
    out
}

fn prefix(raw: RawRaPrefix, sink: &Sink) -> RaPrefix {
    let RawRaPrefix { prefix, on_link, autonomous, valid, preferred } = raw;
    if autonomous && prefix.value.len() != 64 {
        let message = format!("hosts make no addresses in a prefix of {} bits", prefix.value.len());
        let fault = Fault::new(FaultKind::Conflict, &prefix.place, message);
        sink.push(fault.expected("64 bits, or autonomous = false (RFC 4862 s5.5.3)"));
    }
    let span = |at: &Option<At<Span>>| at.as_ref().map(|at| at.value);
    let lasts = span(&valid).unwrap_or(VALID.max(span(&preferred).unwrap_or(PREFERRED)));
    let preferred_for = span(&preferred).unwrap_or(PREFERRED.min(lasts));
    if let (Some(preferred), Some(valid)) = (&preferred, &valid)
        && preferred.value > valid.value
    {
        let message = format!("preferred {} is longer than valid {}", preferred.value, valid.value);
        let fault = Fault::new(FaultKind::Conflict, &preferred.place, message);
        let fault = fault.related(&valid.place, "against this");
        sink.push(fault.expected("preferred <= valid (RFC 4861 s4.6.2)"));
    }
    let prefix = prefix.value;
    RaPrefix { prefix, on_link, autonomous, valid: lasts, preferred: preferred_for }
}

fn default_prefixes(links: &Links<'_>) -> Vec<RaPrefix> {
    let one = |subnet: &Subnet6| RaPrefix {
        prefix: subnet.prefix,
        on_link: true,
        autonomous: false,
        valid: VALID,
        preferred: PREFERRED,
    };
    let mut out: Vec<RaPrefix> = links.local().map(one).collect();
    out.sort_by_key(|p| p.prefix);
    out
}

/// The addresses that option 23 gives on the link.
fn addresses(links: &Links<'_>) -> Vec<Ipv6Addr> {
    let mut out: Vec<Ipv6Addr> = Vec::new();
    for data in links.option(DNS_SERVERS) {
        for bytes in data.chunks(16) {
            let addr = <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from);
            out.extend(addr.filter(|addr| !out.contains(addr)));
        }
    }
    out
}

/// The names that option 24 gives on the link.
fn names(links: &Links<'_>) -> Vec<Arc<str>> {
    let mut out: Vec<Arc<str>> = Vec::new();
    for data in links.option(DOMAIN_SEARCH) {
        let mut at = 0;
        // What is no name was written in hexadecimal, and ends the list.
        while let Ok((name, next)) = name::decode_name(data, at) {
            if !name.is_empty() && !out.iter().any(|known| **known == *name) {
                out.push(name.into());
            }
            at = next;
        }
    }
    out
}
