//! What it costs to move a client.

use std::sync::Arc;

use crate::base::{Resource, Span};
use crate::config::policy::{MoveWeights, Network, PRIORITY_MAX, Relocation};
use crate::lease::Lease;

/// So far is as far as can be.
const FAR: Span = Span::from_ms(100);
/// The work of a client that gets its new address beside the old one.
const BESIDE: u8 = 20;
/// The work of a client that must ask anew, and is without an address meanwhile.
const ANEW: u8 = 100;

/// The parts of a cost, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Its traffic and open connections, as far as telemetry tells them.
    pub disruption: u8,
    /// The latency between the regions of both subnets.
    pub distance: u8,
    /// The work.
    pub processing: u8,
    /// The priority of what runs there.
    pub priority: u8,
}

impl Cost {
    /// Of moving a client of this priority between two regions.
    pub fn of(
        lease: &Lease,
        priority: u8,
        (from, to): (Option<&Arc<str>>, Option<&Arc<str>>),
        policy: &Relocation,
    ) -> Cost {
        let processing = match lease.resource {
            Resource::V4(_) => ANEW,
            Resource::V6(_) | Resource::Prefix6(..) => BESIDE,
        };
        Cost {
            disruption: percent(lease.uses.traffic.into(), u8::MAX.into()),
            distance: distance(from, to, &policy.distances),
            processing,
            priority: percent(priority.into(), PRIORITY_MAX.into()),
        }
    }

    /// The mean of its parts by the weights, in percent.
    pub fn whole(&self, weights: &MoveWeights) -> u8 {
        let parts = [
            (self.disruption, weights.disruption),
            (self.distance, weights.distance),
            (self.processing, weights.processing),
            (self.priority, weights.priority),
        ];
        let sum: u64 = parts.iter().map(|(part, by)| u64::from(*part) * u64::from(*by)).sum();
        let all: u64 = parts.iter().map(|(_, by)| u64::from(*by)).sum();
        percent(sum, all.saturating_mul(100))
    }
}

/// Regions that are not named are no distance apart, those of which nothing is known as far as can
/// be.
fn distance(from: Option<&Arc<str>>, to: Option<&Arc<str>>, known: &[([Arc<str>; 2], Span)]) -> u8 {
    let Some((from, to)) = from.zip(to).filter(|(from, to)| from != to) else { return 0 };
    let is_it = |[a, b]: &[Arc<str>; 2]| (a, b) == (from, to) || (b, a) == (from, to);
    let latency = known.iter().find(|(between, _)| is_it(between)).map_or(FAR, |(_, far)| *far);
    percent(latency.0, FAR.0)
}

fn percent(part: u64, of: u64) -> u8 {
    u8::try_from((part.saturating_mul(100) / of.max(1)).min(100)).unwrap_or(100)
}

/// The region of the subnet of an address.
pub(super) fn region(network: &Network, resource: Resource) -> Option<&Arc<str>> {
    match resource {
        Resource::V4(addr) => network.subnet_of(addr)?.region.as_ref(),
        Resource::V6(addr) => {
            let of = network.subnets6.iter().find(|subnet| subnet.prefix.contains(addr));
            of?.region.as_ref()
        }
        Resource::Prefix6(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_the_mean_of_its_parts_by_their_weights() {
        let weights =
            |disruption, distance| MoveWeights { disruption, distance, processing: 1, priority: 0 };
        let cost = Cost { disruption: 80, distance: 40, processing: 30, priority: 100 };
        assert_eq!(cost.whole(&weights(1, 1)), 50);
        assert_eq!(cost.whole(&weights(8, 1)), 71);
        assert_eq!(cost.whole(&weights(0, 0)), 30);
        let most = Cost { disruption: 100, distance: 100, processing: 100, priority: 100 };
        assert_eq!(most.whole(&weights(1000, 1000)), 100);
    }

    #[test]
    fn unknown_regions_are_far_and_unnamed_ones_near() {
        let region = |name: &str| Arc::<str>::from(name);
        let (a, b, c) = (region("a"), region("b"), region("c"));
        let known = [([region("a"), region("b")], Span::from_ms(25))];
        let far = |from, to| distance(from, to, &known);
        assert_eq!(far(Some(&a), Some(&b)), 25);
        assert_eq!(far(Some(&b), Some(&a)), 25);
        assert_eq!(far(Some(&a), Some(&c)), 100);
        assert_eq!(far(Some(&a), Some(&a)), 0);
        assert_eq!(far(Some(&a), None), 0);
    }
}
