//! What shadows did, beside the best fixed pools.

use serde::Serialize;

use crate::base::{Span, Timestamp};

use super::fixed::{self, Creates};
use super::log::{Event, What};
use super::world::{Way, World};

/// The result of a backtest.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Events that were played.
    pub events: u64,
    /// Time that they span, in seconds.
    pub seconds: f64,
    /// Instances that came.
    pub creates: u64,
    /// Share of them that found a ready shadow.
    pub hit_rate: f64,
    /// Addresses that were held and idle, on average over time.
    pub idle: f64,
    /// Share of the shadows that were made and never claimed.
    pub waste: f64,
    /// Creates that were refused.
    pub refused: u64,
    /// Shadows that were made.
    pub held: u64,
    /// Runs of addresses in use, for each hundred addresses in use: 1 where all are in a row.
    pub fragmentation: f64,
    /// The best fixed pools, of one size for each application on each network, that have no more idle
    /// addresses.
    pub fixed_same_waste: Fixed,
    /// The smallest that have this hit rate.
    pub fixed_same_hit_rate: Fixed,
    /// Buckets of a quarter of an hour of the last day, for the picture.
    #[serde(skip)]
    pub day: Vec<Bucket>,
}

/// What fixed pools did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Fixed {
    /// Ready addresses in each.
    pub size: usize,
    /// Share of creates that found one.
    pub hit_rate: f64,
    /// Idle addresses, on average over time.
    pub idle: f64,
}

/// A quarter of an hour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Instances that came.
    pub creates: u64,
    /// Those that found no ready shadow.
    pub misses: u64,
    /// Shadows at its end.
    pub held: usize,
}

/// A quarter of an hour, in milliseconds.
const QUARTER: u64 = 900_000;
const DAY: u64 = 96 * QUARTER;

/// Plays all events; `progress` is told of how many, now and then.
pub fn run(events: &[Event], way: Way, mut progress: impl FnMut(u64)) -> Result<Report, String> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Err("there are no events".into());
    };
    let mut world = World::new(events, way)?;
    let from = Timestamp(last.at.0.saturating_sub(DAY));
    let mut day = vec![Bucket::default(); 96];
    let mut creates = Creates::new();
    let mut before = (0, 0);
    for (number, event) in events.iter().enumerate() {
        world.play(event);
        let total = world.engine().tallies().total();
        if let Some(at) = event.at.0.checked_sub(from.0)
            && let Some(bucket) = day.get_mut((at / QUARTER).min(95) as usize)
        {
            bucket.creates += total.creates - before.0;
            bucket.misses += total.creates - total.hits - before.1;
            bucket.held = world.engine().leases().shadows().len();
        }
        before = (total.creates, total.creates - total.hits);
        if let What::Create(_) = event.what {
            let key = [&event.account, &event.application, &event.network].map(Clone::clone);
            creates.entry(key).or_default().push(event.at);
        }
        if number % 4096 == 0 {
            progress(number as u64);
        }
    }
    let span = Span(last.at.since(first.at).0.max(1));
    let total = world.engine().tallies().total();
    let rate = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
    let idle = world.idle_ms as f64 / span.0 as f64;
    let hit_rate = rate(total.hits, total.creates);
    let topup = Span::from_secs(way.topup_s.into());
    let [by_idle, by_rate] = fixed::best(&creates, (idle, hit_rate), topup, span);
    let fixed = |(size, outcome): (usize, fixed::Outcome)| Fixed {
        size,
        hit_rate: outcome.hit_rate,
        idle: outcome.idle,
    };
    let unclaimed = total.held.saturating_sub(total.hits + total.unready);
    Ok(Report {
        events: events.len() as u64,
        seconds: span.0 as f64 / 1000.0,
        creates: total.creates,
        hit_rate,
        idle,
        waste: if total.held == 0 { 0.0 } else { rate(unclaimed, total.held) },
        refused: world.refused,
        held: total.held,
        fragmentation: fragmentation(&world),
        fixed_same_waste: fixed(by_idle),
        fixed_same_hit_rate: fixed(by_rate),
        day,
    })
}

/// Runs of addresses in use, for each hundred of them.
fn fragmentation(world: &World) -> f64 {
    let mut used: Vec<_> = world.engine().directory().held().collect();
    used.sort_unstable();
    used.dedup();
    if used.is_empty() {
        return 0.0;
    }
    let next = |(network, resource): &(crate::base::NetworkId, crate::base::Resource)| {
        let addr = resource.v4()?;
        let next = std::net::Ipv4Addr::from_bits(addr.to_bits().checked_add(1)?);
        Some((*network, crate::base::Resource::V4(next)))
    };
    let breaks = used.windows(2).filter(|pair| match pair {
        [one, other] => next(one) != Some(*other),
        _ => false,
    });
    (breaks.count() + 1) as f64 * 100.0 / used.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::world::owner;

    /// Two accounts, each with waves of instances that live for a while.
    fn waves() -> Vec<Event> {
        let mut events = Vec::new();
        let mut lots = crate::engine::lots::Lots::new([3; 16], crate::lease::Seq(0));
        for wave in 0..40_u64 {
            let account = if wave % 3 == 0 { "bank" } else { "shop" };
            for number in 0..(lots.draw(1, 12) as u64) {
                let at = 1_800_000_000_000 + wave * 600_000 + lots.draw(0, 90_000) as u64;
                let id: Box<str> = format!("i-{wave}-{number}").into();
                let event = |at: u64, what| Event {
                    at: Timestamp(at),
                    what,
                    account: account.into(),
                    application: "web".into(),
                    network: "lan".into(),
                };
                events.push(event(at, What::Create(id.clone())));
                events.push(event(at + lots.draw(60_000, 5_000_000) as u64, What::Delete(id)));
            }
        }
        events.sort_by_key(|event| event.at);
        events
    }

    fn played(way: Way) -> Report {
        run(&waves(), Way { topup_s: 30, ..way }, |_| {}).unwrap()
    }

    #[test]
    fn who_foresees_everything_hits_always_and_wastes_no_more_than_the_horizon() {
        let report = played(Way { perfect_s: 300, ..Way::default() });
        assert_eq!((report.hit_rate, report.refused), (1.0, 0));
        // Each waits for at most its horizon; what is left of one goes within minutes.
        let most = report.creates as f64 * 300.0 / report.seconds;
        assert!(report.idle <= most, "{} of at most {most}", report.idle);
        assert!(report.idle < report.fixed_same_hit_rate.idle, "{report:?}");
    }

    #[test]
    fn what_is_always_ready_does_what_a_fixed_pool_of_that_size_does() {
        for ready in [1, 3] {
            let report = played(Way { ready, ..Way::default() });
            let size = report.fixed_same_hit_rate.size as u32;
            assert_eq!(size, ready, "{report:?}");
            let fixed = report.fixed_same_hit_rate;
            assert!((report.hit_rate - fixed.hit_rate).abs() < 1e-9, "{report:?}");
            assert!((report.idle - fixed.idle).abs() < 0.1, "{report:?}");
        }
    }

    #[test]
    fn nothing_is_held_where_nothing_is_foreseen() {
        let report = played(Way::default());
        assert_eq!((report.hit_rate, report.idle, report.held), (0.0, 0.0, 0));
        let creates = waves().iter().filter(|e| matches!(e.what, What::Create(_))).count();
        assert_eq!(report.creates, creates as u64);
        assert_eq!(owner(&waves()[0]).1.as_deref(), Some("web"));
    }
}
