//! IPv6 pools of one network: inside their subnet, apart from each other, without what is spoken
//! for.

use std::net::Ipv6Addr;

use crate::base::{Prefix6, Range6};
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::{Generate, Pool6};
use crate::config::raw6::{RawPool6, RawSubnet6};

use super::lease::Times;

/// The anycast addresses of a /64 (RFC 2526 s2): the highest interface identifiers with the
/// universal bit clear.
const ANYCAST: (u64, u64) = (0xfdff_ffff_ffff_ff80, 0xfdff_ffff_ffff_ffff);

/// Reports pools of a network that share addresses.
pub(super) fn check_overlaps(subnets: &[RawSubnet6], sink: &Sink) {
    let pools = subnets.iter().flat_map(|subnet| &subnet.pools);
    let mut ranges: Vec<(Range6, &Place)> =
        pools.map(|pool| (pool.range.value, &pool.range.place)).collect();
    let message = |range: &Range6, other: &Range6| {
        format!("pools overlap: {range} and {other} share addresses")
    };
    super::overlaps(&mut ranges, message, sink);
}

/// Whether `addr` is the Subnet-Router anycast address of `subnet` (RFC 4291 s2.6.1), which the
/// two longest prefixes do not have (RFC 6164).
pub(super) fn is_router_anycast(subnet: Prefix6, addr: Ipv6Addr) -> bool {
    subnet.len() < 127 && addr == subnet.network()
}

/// The pool of the policy. `taken` are addresses that are spoken for, ascending.
pub(super) fn build(
    mut raw: RawPool6,
    subnet: &At<Prefix6>,
    times: &Times,
    taken: &[Ipv6Addr],
    sink: &Sink,
) -> Option<Pool6> {
    times.inner(&raw.settings.lease, &mut raw.settings.settings.lease, sink);
    check_inside(&raw, subnet, sink)?;
    let Range6 { first, last } = raw.range.value;
    let mut excluded = exclusions(&raw, sink);
    excluded.extend(anycast(subnet.value));
    let from = taken.partition_point(|addr| *addr < first);
    let inside = taken.get(from..).unwrap_or_default().iter();
    excluded.extend(
        inside.take_while(|addr| **addr <= last).map(|addr| Range6 { first: *addr, last: *addr }),
    );
    let excluded = merge(excluded, raw.range.value);
    if excluded.contains(&raw.range.value) {
        let message = "every address of this pool is excluded or reserved";
        sink.push(Fault::new(FaultKind::Suspicious, &raw.range.place, message).warning());
    }
    super::check_classes(&raw.allow, &raw.deny, &raw.range.place, sink);
    let by_form = if raw.is_prefix { Generate::Random } else { Generate::Iterative };
    Some(Pool6 {
        first,
        last,
        excluded: excluded.into_iter().map(|gap| (gap.first, gap.last)).collect(),
        generate: raw.generate.unwrap_or(by_form),
        allow: raw.allow,
        deny: raw.deny,
        settings: raw.settings.settings,
    })
}

fn check_inside(pool: &RawPool6, subnet: &At<Prefix6>, sink: &Sink) -> Option<()> {
    let (range, prefix) = (pool.range.value, subnet.value);
    if !(prefix.contains(range.first) && prefix.contains(range.last)) {
        let message = format!("the pool is not inside its subnet {prefix}");
        let fault = Fault::new(FaultKind::Outside, &pool.range.place, message);
        let expected = format!("addresses within {}", prefix.range());
        sink.push(fault.related(&subnet.place, "the subnet").expected(expected));
        return None;
    }
    if is_router_anycast(prefix, range.first) && !pool.is_prefix {
        let message =
            format!("the pool holds {}, the anycast address of routers in {prefix}", range.first);
        let fault = Fault::new(FaultKind::Outside, &pool.range.place, message);
        sink.push(fault.expected("a range that begins above it (RFC 4291 s2.6.1)"));
        return None;
    }
    Some(())
}

/// What `exclude` says, and faults of what lies outside.
fn exclusions(raw: &RawPool6, sink: &Sink) -> Vec<Range6> {
    let range = raw.range.value;
    let (inside, outside): (Vec<_>, Vec<_>) = raw
        .exclude
        .iter()
        .partition(|at| range.contains(at.value.first) && range.contains(at.value.last));
    for at in outside {
        let fault = Fault::new(FaultKind::Outside, &at.place, "excluded outside its pool");
        let expected = format!("addresses within {range}");
        sink.push(fault.related(&raw.range.place, "the pool").expected(expected));
    }
    inside.into_iter().map(|at| at.value).collect()
}

/// The addresses of a subnet that no host has.
fn anycast(subnet: Prefix6) -> Vec<Range6> {
    let mut out = Vec::new();
    if is_router_anycast(subnet, subnet.network()) {
        out.push(Range6 { first: subnet.network(), last: subnet.network() });
    }
    if subnet.len() == 64 {
        let at = |id: u64| Ipv6Addr::from_bits(subnet.network().to_bits() | u128::from(id));
        out.push(Range6 { first: at(ANYCAST.0), last: at(ANYCAST.1) });
    }
    out
}

/// What of `gaps` lies within `range`: ascending, disjoint and not adjacent.
fn merge(mut gaps: Vec<Range6>, range: Range6) -> Vec<Range6> {
    gaps.retain(|gap| gap.overlaps(&range));
    gaps.sort_unstable();
    let mut out: Vec<Range6> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        let gap = Range6 { first: gap.first.max(range.first), last: gap.last.min(range.last) };
        let joins = |last: &Range6| gap.first.to_bits() <= last.last.to_bits().saturating_add(1);
        match out.last_mut().filter(|last| joins(last)) {
            Some(last) => last.last = last.last.max(gap.last),
            None => out.push(gap),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u128, last: u128) -> Range6 {
        Range6 { first: Ipv6Addr::from_bits(first), last: Ipv6Addr::from_bits(last) }
    }

    #[test]
    fn exclusions_are_cut_merged_and_ordered() {
        let gaps = vec![range(9, 9), range(3, 5), range(4, 4), range(6, 6), range(20, 30)];
        assert_eq!(merge(gaps, range(4, 25)), [range(4, 6), range(9, 9), range(20, 25)]);
        let all = u128::MAX;
        assert_eq!(merge(vec![range(0, all), range(all, all)], range(0, all)), [range(0, all)]);
    }

    #[test]
    fn no_host_has_an_anycast_address() {
        let anycast = |text: &str| anycast(text.parse().unwrap());
        let texts = |text| anycast(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts("2001:db8::/64"),
            [
                "2001:db8::-2001:db8::",
                "2001:db8::fdff:ffff:ffff:ff80-2001:db8::fdff:ffff:ffff:ffff"
            ]
        );
        assert_eq!(texts("2001:db8::/120"), ["2001:db8::-2001:db8::"]);
        assert_eq!(anycast("2001:db8::/127"), []);
    }
}
