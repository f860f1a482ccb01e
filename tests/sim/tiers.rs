//! What must hold of tiers at any moment.

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
    Ok(())
}
