//! Pools of one network: inside their subnet, apart from each other, without what is spoken for.

use std::net::Ipv4Addr;

use crate::base::{Prefix4, Range4};
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::{OptionSet, Pool};
use crate::config::raw::{RawPool, RawSubnet};

/// Reports pools of a network that share addresses.
pub(super) fn check_overlaps(subnets: &[RawSubnet], sink: &Sink) {
    let pools = subnets.iter().flat_map(|subnet| &subnet.pools);
    let mut ranges: Vec<(Range4, &Place)> =
        pools.map(|pool| (pool.range.value, &pool.range.place)).collect();
    let message = |range: &Range4, other: &Range4| {
        format!("pools overlap: {range} and {other} share addresses")
    };
    super::overlaps(&mut ranges, message, sink);
}

/// Checks a pool against its subnet; the range that is left, without the subnet's own addresses.
pub(super) fn range(pool: &RawPool, prefix: &At<Prefix4>, sink: &Sink) -> Option<Range4> {
    let (mut range, subnet) = (pool.range.value, prefix.value);
    let place = &pool.range.place;
    if !(subnet.contains(range.first) && subnet.contains(range.last)) {
        let message = format!("the pool is not inside its subnet {subnet}");
        let fault = Fault::new(FaultKind::Outside, place, message);
        let expected = format!("addresses within {}", subnet.range());
        sink.push(fault.related(&prefix.place, "the subnet").expected(expected));
        return None;
    }
    for edge in [range.first, range.last] {
        if subnet.is_host(edge) || range.first > range.last {
            continue;
        }
        if !pool.is_prefix {
            let what = if edge == subnet.network() { "network" } else { "broadcast" };
            let message = format!("the pool holds {edge}, the {what} address of {subnet}");
            let fault = Fault::new(FaultKind::Outside, place, message);
            sink.push(fault.expected(format!("hosts of {subnet} are {}", hosts(subnet))));
            return None;
        }
        if edge == subnet.network() {
            range.first = next(range.first);
        } else {
            range.last = previous(range.last);
        }
    }
    if range.last < range.first {
        let fault = Fault::new(FaultKind::Outside, place, "no host address is in this pool");
        sink.push(fault.expected(format!("hosts of {subnet} are {}", hosts(subnet))));
        return None;
    }
    Some(range)
}

/// The addresses of `subnet` that hosts can have.
fn hosts(subnet: Prefix4) -> Range4 {
    let Range4 { first, last } = subnet.range();
    if subnet.len() >= 31 {
        return Range4 { first, last };
    }
    Range4 { first: next(first), last: previous(last) }
}

fn next(addr: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(addr.to_bits().saturating_add(1))
}

fn previous(addr: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(addr.to_bits().saturating_sub(1))
}

/// The pool of the policy. `taken` are addresses that are spoken for, ascending.
pub(super) fn build(raw: RawPool, range: Range4, taken: &[Ipv4Addr], sink: &Sink) -> Pool {
    let mut excluded = Vec::new();
    for at in &raw.exclude {
        let inside =
            raw.range.value.contains(at.value.first) && raw.range.value.contains(at.value.last);
        if !inside {
            let fault = Fault::new(FaultKind::Outside, &at.place, "excluded outside its pool");
            let expected = format!("addresses within {}", raw.range.value);
            sink.push(fault.related(&raw.range.place, "the pool").expected(expected));
            continue;
        }
        excluded.push(Range4 {
            first: at.value.first.max(range.first),
            last: at.value.last.min(range.last),
        });
    }
    let from = taken.partition_point(|addr| *addr < range.first);
    let inside = taken.get(from..).unwrap_or_default().iter();
    excluded.extend(
        inside
            .take_while(|addr| **addr <= range.last)
            .map(|addr| Range4 { first: *addr, last: *addr }),
    );
    let excluded = merge(excluded);
    if excluded.iter().map(Range4::size).sum::<u64>() == range.size() {
        let message = "every address of this pool is excluded or reserved";
        sink.push(Fault::new(FaultKind::Suspicious, &raw.range.place, message).warning());
    }
    super::check_classes(&raw.allow, &raw.deny, &raw.range.place, sink);
    Pool { range, excluded, allow: raw.allow, deny: raw.deny, settings: raw.settings.settings }
}

/// Ascending, disjoint and not adjacent; empty ranges dropped.
fn merge(mut ranges: Vec<Range4>) -> Vec<Range4> {
    ranges.retain(|range| range.first <= range.last);
    ranges.sort_unstable();
    let mut out: Vec<Range4> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.first <= next(last.last) => last.last = last.last.max(range.last),
            _ => out.push(range),
        }
    }
    out
}

/// The addresses that option 3 of the nearest level names.
pub(super) fn routers(levels: [&OptionSet; 4]) -> Vec<Ipv4Addr> {
    let Some(option) = levels.iter().find_map(|set| set.get(3)) else { return Vec::new() };
    let addr = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
    option.data.chunks(4).filter_map(addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u8, last: u8) -> Range4 {
        Range4 { first: Ipv4Addr::new(10, 0, 0, first), last: Ipv4Addr::new(10, 0, 0, last) }
    }

    #[test]
    fn exclusions_are_merged_and_ordered() {
        let merged = merge(vec![range(9, 9), range(3, 5), range(4, 4), range(6, 6), range(20, 30)]);
        assert_eq!(merged, [range(3, 6), range(9, 9), range(20, 30)]);
    }
}
