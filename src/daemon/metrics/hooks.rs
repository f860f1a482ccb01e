//! How hooks are doing.

use crate::api::exposition::{Exposition, Family};
use crate::daemon::hooks::{HookStatus, Statuses};
use crate::store::archive::Archive;

/// Writes the figures of each hook; the configuration bounds how many there are.
pub(super) fn write((statuses, archive): &(Statuses, Option<Archive>), out: &mut Exposition) {
    let all = statuses.all();
    let end = archive.as_ref().map_or(0, |archive| archive.status().next);
    let mut family = |family: Family, figure: &dyn Fn(&HookStatus) -> u64| {
        out.family(family);
        all.iter().for_each(|(name, of)| out.count(&[("hook", name)], figure(of)));
    };
    let help = "Events that a hook was told of.";
    family(Family::counter("foreshadow_hook_deliveries", help), &|of| of.delivered);
    let help = "Attempts to tell a hook that failed, and are made again.";
    family(Family::counter("foreshadow_hook_failures", help), &|of| of.failed);
    let help = "Audit records that went by age or size before a hook was told of them.";
    family(Family::counter("foreshadow_hook_missed", help), &|of| of.missed);
    let help = "Events that a receiver would not have, and that were set aside.";
    family(Family::counter("foreshadow_hook_refused", help), &|of| of.refused);
    let help = "Audit records that a hook has yet to pass.";
    family(Family::gauge("foreshadow_hook_lag", help), &|of| end.saturating_sub(of.next));
}
