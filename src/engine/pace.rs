//! How long a lease is, and when its renewals begin, by what is known of its client and its pool.

use crate::base::{ClientKey, NetworkId, Resource, Span, Timestamp};
use crate::lease::{Lease, State};

use super::Engine;

/// All of a share, of the jitter or of the room in a pool.
const WHOLE: u64 = u16::MAX as u64;
/// A pool of which one part in so many is free has room.
const ROOMY: u128 = 4;

/// What the times of a lease depend on beside the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How the client used the address so far.
    pub history: History,
    /// How much of a quarter of the pool is free: all of it from a quarter on.
    pub room: u16,
    /// How early the client renews, of all the jitter there is.
    pub lot: u16,
}

/// How a client used its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// It is new, or nothing is remembered.
    New,
    /// It has had it for so long.
    Steady(Span),
    /// It has it no more, and had it for so long.
    Former(Span),
}

impl Pace {
    /// Of a client of whom nothing is known, in a pool with room, without jitter.
    pub const PLAIN: Pace = Pace { history: History::New, room: u16::MAX, lot: 0 };

    /// The lease of a client that asks for no time: longer for one that keeps its address, shorter
    /// for one that soon gave it up, and the shorter the less is free.
    pub fn lease(&self, min: Span, default: Span, max: Span) -> Span {
        let wanted = match self.history {
            History::New => default,
            History::Steady(so_far) => so_far.clamp(default, max),
            History::Former(had) => had.clamp(min, default),
        };
        if wanted.is_forever() {
            return wanted;
        }
        let above = u128::from(wanted.0.saturating_sub(min.0)) * u128::from(self.room);
        Span(min.0 + (above / u128::from(WHOLE)) as u64)
    }

    /// A time that comes earlier by this client's part of so many percent.
    pub fn earlier(&self, time: Span, percent: u8) -> Span {
        if time.is_forever() {
            return time;
        }
        let most = u128::from(time.0) * u128::from(percent) / 100;
        Span(time.0 - (most * u128::from(self.lot) / u128::from(WHOLE)) as u64)
    }
}

impl Engine {
    /// What the times of a client's lease depend on; its history and the room only if they are
    /// `adaptive`. Whose renewals are told by one word (`whose`), they come together.
    pub(super) fn pace(
        &self,
        now: Timestamp,
        (network, resource): (NetworkId, Resource),
        (client, whose): (&ClientKey, &[u8]),
        adaptive: bool,
    ) -> Pace {
        let lot = self.lots.of(&[b"renewal", whose], 0, u128::from(WHOLE));
        let lot = u16::try_from(lot).unwrap_or(u16::MAX);
        if !adaptive {
            return Pace { lot, ..Pace::PLAIN };
        }
        let lease = self.table.get(network, resource).filter(|l| l.client == *client);
        let history = lease.map_or(History::New, |lease| history(lease, now));
        Pace { history, room: self.room_in_pool(network, resource), lot }
    }

    /// How much of a quarter of the pool of an address is free or would give way; all where it is
    /// of none.
    fn room_in_pool(&self, network: NetworkId, resource: Resource) -> u16 {
        let Some(spot) = self.spot(network, resource) else { return u16::MAX };
        let Some(pool) = self.pool(spot) else { return u16::MAX };
        let lent = self.lent(network, resource.sort(), spot.pool);
        let free = pool.free.available().saturating_add(lent);
        let roomy = pool.size.div_ceil(ROOMY).max(1);
        let share = free.saturating_mul(WHOLE.into()) / roomy;
        u16::try_from(share).unwrap_or(u16::MAX)
    }
}

fn history(lease: &Lease, now: Timestamp) -> History {
    match lease.state {
        State::Leased => History::Steady(now.since(lease.since)),
        State::Expired | State::Released => History::Former(lease.until.since(lease.since)),
        State::Quarantined(_) | State::Shadow => History::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Span = Span::from_secs(60);
    const DEFAULT: Span = Span::from_secs(3600);
    const MAX: Span = Span::from_secs(86_400);

    fn lease(history: History, room: u16) -> u64 {
        Pace { history, room, lot: 0 }.lease(MIN, DEFAULT, MAX).0 / 1000
    }

    #[test]
    fn a_lease_grows_with_its_holder_and_shrinks_with_the_pool() {
        let span = Span::from_secs;
        assert_eq!(lease(History::New, u16::MAX), 3600);
        assert_eq!(lease(History::Steady(span(10)), u16::MAX), 3600);
        assert_eq!(lease(History::Steady(span(7200)), u16::MAX), 7200);
        assert_eq!(lease(History::Steady(span(1_000_000)), u16::MAX), 86_400);
        assert_eq!(lease(History::Former(span(600)), u16::MAX), 600);
        assert_eq!(lease(History::Former(span(1)), u16::MAX), 60);
        assert_eq!(lease(History::Former(span(1_000_000)), u16::MAX), 3600);
        assert_eq!(lease(History::New, 0), 60);
        assert_eq!(lease(History::New, u16::MAX / 2), 60 + 3540 / 2 - 1);
        let endless = Pace { room: 0, ..Pace::PLAIN }.lease(MIN, Span::FOREVER, Span::FOREVER);
        assert_eq!(endless, Span::FOREVER);
    }

    #[test]
    fn renewals_come_earlier_never_later() {
        let early = |lot| Pace { lot, ..Pace::PLAIN }.earlier(DEFAULT, 10).0 / 1000;
        assert_eq!((early(0), early(u16::MAX / 2), early(u16::MAX)), (3600, 3420, 3240));
        assert_eq!(Pace { lot: 7, ..Pace::PLAIN }.earlier(Span::FOREVER, 10), Span::FOREVER);
    }
}
