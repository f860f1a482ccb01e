//! Pools of prefixes: lengths that fit each other (RFC 9915 s6.3, RFC 6603).

use crate::base::Prefix6;
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::{DelegationPool, PrefixExclude};
use crate::config::raw6::RawDelegation;

use super::lease::Times;

/// Hosts make addresses of their own in prefixes of this length and no other (RFC 4862 s5.5.3).
const LINK_LENGTH: u8 = 64;

/// The pool of the policy. `taken` are reserved prefixes, ascending.
pub(super) fn build(
    mut raw: RawDelegation,
    times: &Times,
    taken: &[Prefix6],
    sink: &Sink,
) -> Option<DelegationPool> {
    times.inner(&raw.settings.lease, &mut raw.settings.settings.lease, sink);
    super::check_classes(&raw.allow, &raw.deny, &raw.prefix.place, sink);
    let (min, length, max) = lengths(&raw, sink)?;
    if let Some(exclude) = &raw.exclude {
        check_exclude(exclude, max, sink);
    }
    let prefix = raw.prefix.value;
    let excluded = reserved(prefix, taken);
    if excluded.contains(&prefix) {
        let message = "every prefix of this pool is reserved";
        sink.push(Fault::new(FaultKind::Suspicious, &raw.prefix.place, message).warning());
    }
    Some(DelegationPool {
        prefix,
        length,
        min_length: min,
        max_length: max,
        excluded,
        exclude: raw.exclude.map(|at| at.value),
        allow: raw.allow,
        deny: raw.deny,
        install_route: raw.install_route,
        settings: raw.settings.settings,
    })
}

/// Shortest, usual and longest length; `None` if one is wrong.
fn lengths(raw: &RawDelegation, sink: &Sink) -> Option<(u8, u8, u8)> {
    let length = raw.length.as_ref()?;
    let min = raw.min_length.as_ref().unwrap_or(length);
    let max = raw.max_length.as_ref().unwrap_or(length);
    let order = |low: &At<u8>, high: &At<u8>, at: &Place, what: &str| {
        if low.value <= high.value {
            return true;
        }
        let fault = Fault::new(FaultKind::Conflict, at, what);
        let other = if *at == length.place { &raw.prefix.place } else { &length.place };
        let fault = fault.related(other, "against this");
        sink.push(fault.expected("min_length <= length <= max_length"));
        false
    };
    let whole = At { value: raw.prefix.value.len(), place: raw.prefix.place.clone() };
    let mut fits = true;
    let (shortest, shortest_at) = (min, &min.place);
    if shortest.value < whole.value {
        let message =
            format!("prefixes of {} bits do not fit into {}", shortest.value, raw.prefix.value);
        let fault = Fault::new(FaultKind::Outside, shortest_at, message);
        let fault = fault.related(&raw.prefix.place, "the pool");
        sink.push(fault.expected(format!("{} to 128 bits", whole.value)));
        fits = false;
    }
    fits &= order(min, length, &min.place, "min_length is over length");
    fits &= order(length, max, &max.place, "max_length is below length");
    if fits && max.value > LINK_LENGTH {
        let message = format!("delegated prefixes of {} bits", max.value);
        let fault = Fault::new(FaultKind::Suspicious, &max.place, message).warning();
        sink.push(fault.expected("up to 64 bits: beyond, hosts make no addresses of their own"));
    }
    fits.then_some((min.value, length.value, max.value))
}

/// RFC 6603 s4.2: the excluded prefix is longer than the delegated one, and inside it.
fn check_exclude(exclude: &At<PrefixExclude>, longest: u8, sink: &Sink) {
    let PrefixExclude { length, id } = exclude.value;
    let fault = |message: String| Fault::new(FaultKind::Conflict, &exclude.place, message);
    let Some(bits) = length.checked_sub(longest).filter(|bits| *bits > 0) else {
        let message =
            format!("an excluded prefix of {length} bits in a delegated one of {longest}");
        sink.push(fault(message).expected(format!("over {longest} bits")));
        return;
    };
    if id.checked_shr(u32::from(bits)).unwrap_or(0) != 0 {
        let message = format!("{bits} bits between the two lengths do not hold the number {id}");
        let highest = 1u128.checked_shl(u32::from(bits)).map_or(u128::MAX, |n| n - 1);
        sink.push(fault(message).expected(format!("0 to {highest}")));
    }
}

/// What is reserved in `pool`; prefixes inside others are left out.
fn reserved(pool: Prefix6, taken: &[Prefix6]) -> Vec<Prefix6> {
    let mut out: Vec<Prefix6> = Vec::new();
    for prefix in taken.iter().filter(|prefix| prefix.overlaps(&pool)) {
        // Nothing is taken of a pool beyond itself.
        let prefix = if prefix.holds(&pool) { pool } else { *prefix };
        if !out.iter().any(|outer| outer.holds(&prefix)) {
            out.push(prefix);
        }
    }
    out
}
