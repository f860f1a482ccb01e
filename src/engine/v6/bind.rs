//! A binding of DHCPv6, as it is written.

use std::sync::Arc;

use crate::base::{ClientKey, Resource, Timestamp};
use crate::engine::grant::later_end;
use crate::lease::directory::Kept;
use crate::lease::{Details, Lease, NextHop, State, Uses};

use super::context::Ctx6;
use super::reply::Term;

/// Longest identifier of a relay that is kept with a binding, in bytes: as long as IPv4 has them.
const RELAY_ID_MAX: usize = 255;

/// A lease of an IA for a term, with what is known of its client.
pub(super) fn binding6(
    ctx: &Ctx6<'_>,
    key: &ClientKey,
    term: &Term,
    details: Arc<Details>,
    before: Option<&Lease>,
) -> Lease {
    let (resource, valid) = (term.resource, term.lifetimes.valid);
    let until = if valid.is_forever() { Timestamp::NEVER } else { ctx.now + valid };
    Lease {
        network: ctx.id(),
        resource,
        client: key.clone(),
        hw: ctx.hw.unwrap_or_default(),
        state: State::Leased,
        since: before.filter(|l| l.state == State::Leased).map_or(ctx.now, |l| l.since),
        updated: ctx.now,
        until: later_end(before, until),
        port: match before {
            Some(before) if !ctx.is_own_frame() => before.port,
            _ => ctx.arrival.port,
        },
        uses: Uses::default(),
        details,
    }
}

/// What most packets do not need of it.
pub(super) fn details6(
    ctx: &Ctx6<'_>,
    resource: Resource,
    hostname: Option<Box<str>>,
    next_hop: Option<NextHop>,
) -> Details {
    let hop = ctx.hops.last();
    let kept = |id: &&[u8]| id.len() <= RELAY_ID_MAX;
    // Another address of its counts for its account beside what is kept for it.
    let attributed = |own: &&Kept| own.keeps(resource) || matches!(resource, Resource::Prefix6(..));
    Details {
        hostname,
        account: ctx.chain(Some(resource)).account().cloned(),
        application: ctx.chain(Some(resource)).application().cloned(),
        instance: ctx.kept.filter(attributed).and_then(|kept| kept.instance.clone()),
        circuit_id: hop.and_then(|h| h.interface_id()).filter(kept).map(Box::from),
        remote_id: hop.and_then(|h| h.remote_id()).map(|(_, id)| id).filter(kept).map(Box::from),
        relay: None,
        boot_stage: false,
        next_hop,
        foreseen: None,
        tier: None,
        draining: None,
        wakes: false,
    }
}
