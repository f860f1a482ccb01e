//! How much one caller, and all together, may ask: a rate, and requests at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::policy::ApiLimits;

use super::problem::Problem;

/// Callers that are remembered at once.
const CALLERS_MAX: usize = 4096;

/// Counts requests.
#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: ApiLimits,
    running: usize,
    callers: HashMap<Arc<str>, Account>,
}

/// What one caller has left.
#[derive(Debug)]
struct Account {
    /// Requests that may still come at once.
    left: f64,
    /// When that was counted.
    at: Instant,
    running: usize,
}

/// Leave to answer one request, until dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    caller: Arc<str>,
}

impl Gate {
    pub(super) fn new(limits: ApiLimits) -> Arc<Gate> {
        Arc::new(Gate(Mutex::new(State { limits, running: 0, callers: HashMap::new() })))
    }

    /// Other limits from the next request on.
    pub(super) fn set_limits(&self, limits: ApiLimits) {
        self.state().limits = limits;
    }

    /// Lets a request of `caller` in, unless there are too many.
    pub(super) fn enter(
        self: &Arc<Gate>,
        caller: &Arc<str>,
        now: Instant,
    ) -> Result<Pass, Problem> {
        self.state().enter(caller, now)?;
        Ok(Pass { gate: self.clone(), caller: caller.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.running = state.running.saturating_sub(1);
        if let Some(account) = state.callers.get_mut(&self.caller) {
            account.running = account.running.saturating_sub(1);
        }
    }
}

impl State {
    fn enter(&mut self, caller: &Arc<str>, now: Instant) -> Result<(), Problem> {
        let ApiLimits { rate, requests, requests_per_caller, .. } = self.limits;
        let burst = f64::from(rate.burst);
        if self.running >= requests {
            let why = format!("{requests} requests are being answered (api.requests)");
            return Err(Problem::too_many(why, 1));
        }
        if !self.callers.contains_key(caller) {
            self.make_room(now);
            if self.callers.len() >= CALLERS_MAX {
                return Err(Problem::too_many("too many callers at once", 1));
            }
        }
        let fresh = Account { left: burst, at: now, running: 0 };
        let account = self.callers.entry(caller.clone()).or_insert(fresh);
        if account.running >= requests_per_caller {
            let why = format!(
                "{requests_per_caller} requests of {caller} are being answered \
                 (api.requests_per_caller)"
            );
            return Err(Problem::too_many(why, 1));
        }
        if rate.per_s > 0 {
            let since = now.saturating_duration_since(account.at).as_secs_f64();
            account.left = (account.left + since * f64::from(rate.per_s)).min(burst);
            account.at = now;
            if account.left < 1.0 {
                let why = format!("{caller} asks over {} times a second (api.rate)", rate.per_s);
                let wait = (1.0 - account.left) / f64::from(rate.per_s);
                // At least 1, and small: the bucket lacks less than one request.
                return Err(Problem::too_many(why, wait.ceil() as u64));
            }
            account.left -= 1.0;
        }
        account.running += 1;
        self.running += 1;
        Ok(())
    }

    /// Forgets callers whose bucket is full again, once there are many.
    fn make_room(&mut self, now: Instant) {
        if self.callers.len() < CALLERS_MAX {
            return;
        }
        let rate = self.limits.rate;
        self.callers.retain(|_, account| {
            let since = now.saturating_duration_since(account.at).as_secs_f64();
            let full = account.left + since * f64::from(rate.per_s) >= f64::from(rate.burst);
            account.running > 0 || (rate.per_s > 0 && !full)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::policy::Rate;

    fn limits(per_s: u32, burst: u32, per_caller: usize, all: usize) -> ApiLimits {
        ApiLimits {
            rate: Rate { per_s, burst },
            requests_per_caller: per_caller,
            requests: all,
            ..ApiLimits::DEFAULT
        }
    }

    #[test]
    fn a_caller_has_a_burst_and_then_a_rate() {
        let (gate, start) = (Gate::new(limits(10, 3, 9, 9)), Instant::now());
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        for _ in 0..3 {
            gate.enter(&ann, start).unwrap();
        }
        let refused = gate.enter(&ann, start).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(1)));
        gate.enter(&bob, start).unwrap();
        gate.enter(&ann, start + Duration::from_millis(150)).unwrap();
        gate.enter(&ann, start + Duration::from_millis(160)).unwrap_err();
    }

    #[test]
    fn requests_at_once_are_counted_until_their_pass_is_dropped() {
        let (gate, now) = (Gate::new(limits(0, 1, 2, 3)), Instant::now());
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let passes = [gate.enter(&ann, now).unwrap(), gate.enter(&ann, now).unwrap()];
        assert!(gate.enter(&ann, now).unwrap_err().detail.contains("requests_per_caller"));
        let _third = gate.enter(&bob, now).unwrap();
        assert!(gate.enter(&bob, now).unwrap_err().detail.contains("api.requests)"));
        drop(passes);
        gate.enter(&ann, now).unwrap();
    }

    #[test]
    fn callers_are_forgotten_when_their_bucket_is_full_again() {
        let (gate, now) = (Gate::new(limits(1, 1, 1, CALLERS_MAX * 2)), Instant::now());
        for n in 0..CALLERS_MAX {
            gate.enter(&n.to_string().into(), now).unwrap();
        }
        let late: Arc<str> = "late".into();
        assert_eq!(gate.enter(&late, now).unwrap_err().status.as_u16(), 429);
        gate.enter(&late, now + Duration::from_secs(2)).unwrap();
    }
}
