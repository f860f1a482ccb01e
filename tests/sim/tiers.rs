//! What must hold of tiers at any moment.

use foreshadow::base::Resource;
use foreshadow::config::policy::Tier;
use foreshadow::engine::Engine;
use foreshadow::lease::State;

/// What counts for a tier is not free, and what is bound counts for the tier that it says.
pub(crate) fn check(engine: &Engine) -> Result<(), String> {
    for pool in engine.networks().iter().flat_map(|net| net.pools.iter().chain(&net.pools6)) {
        let Some(tiers) = &pool.tiers else { continue };
        if let Some((value, tier)) = tiers.iter().find(|(value, _)| pool.free.is_free(*value)) {
            return Err(format!("{value:x} is free, and counts as {tier:?}"));
        }
        for tier in Tier::ALL {
            let counted = tiers.iter().filter(|(_, of)| *of == tier).count() as u128;
            let share = tiers.share(tier);
            if share.used != counted || share.size > pool.size {
                return Err(format!("{counted} count as {tier:?}: {share:?}"));
            }
        }
    }
    let table = engine.leases();
    for lease in table.iter().filter(|l| l.state == State::Leased && l.details.tier.is_some()) {
        let counts = engine.tier_of(lease.network, lease.resource);
        let pending = table.is_pending(lease.network, lease.resource);
        if !pending && counts.is_some() && counts != lease.details.tier {
            let said = lease.details.tier;
            return Err(format!("{} is {said:?}, and counts as {counts:?}", lease.resource));
        }
    }
    check_moves(engine)
}

/// What is being moved, and what could be, is leased, and known as what it is.
fn check_moves(engine: &Engine) -> Result<(), String> {
    let table = engine.leases();
    let draining = |network, resource| {
        let lease = table.get(network, resource).filter(|l| l.state == State::Leased);
        lease.map(|lease| lease.details.draining.is_some())
    };
    for net in engine.networks() {
        let v4 = net.pools.iter().map(|pool| (false, pool));
        for (v6, pool) in v4.chain(net.pools6.iter().map(|pool| (true, pool))) {
            let Some(tiers) = &pool.tiers else { continue };
            let resource = |value: u128| match v6 {
                true => Resource::V6(value.into()),
                false => Resource::V4((value as u32).into()),
            };
            let moving = tiers.draining().map(|value| (value, true));
            let movable = Tier::ALL.into_iter().flat_map(|tier| tiers.movable(tier));
            for (value, wanted) in moving.chain(movable.map(|(_, value)| (value, false))) {
                let at = resource(value);
                let found = draining(net.id, at);
                if !table.is_pending(net.id, at) && found != Some(wanted) {
                    return Err(format!("{at}: draining {wanted}, and its lease says {found:?}"));
                }
            }
        }
    }
    Ok(())
}
