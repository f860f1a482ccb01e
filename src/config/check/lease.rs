//! Lease times of nested levels: `min <= default <= max`, `preferred <= default`,
//! `t1 < t2 < default`, `t2 <= preferred`.

use crate::base::Span;
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::LeaseTimes;
use crate::config::raw::RawLease;

/// The times that hold at a level, each with where it was said; what nobody said gives way.
#[derive(Clone)]
pub(super) struct Times {
    min: Time,
    default: Time,
    max: Time,
    t1: Option<Time>,
    t2: Option<Time>,
    preferred: Option<Time>,
    adaptive: bool,
    jitter: u8,
}

#[derive(Clone)]
struct Time {
    span: Span,
    /// `None` for what is built in.
    said: Option<Place>,
}

impl Time {
    const fn built_in(span: Span) -> Time {
        Time { span, said: None }
    }

    fn of(at: &At<Span>) -> Time {
        Time { span: at.value, said: Some(at.place.clone()) }
    }
}

impl Times {
    /// [`LeaseTimes::DEFAULT`].
    pub(super) const BUILT_IN: Times = Times {
        min: Time::built_in(Span::from_secs(120)),
        default: Time::built_in(Span::from_secs(3600)),
        max: Time::built_in(Span::from_secs(86_400)),
        t1: None,
        t2: None,
        preferred: None,
        adaptive: false,
        jitter: 10,
    };

    /// The times of a level inside this one. What the level says, and what gives way to it, is
    /// written to `out`.
    pub(super) fn inner(&self, raw: &RawLease, out: &mut LeaseTimes, sink: &Sink) -> Times {
        let mut own = self.clone();
        out.adaptive = raw.adaptive.filter(|said| *said != self.adaptive);
        out.jitter = raw.jitter.filter(|said| *said != self.jitter);
        own.adaptive = raw.adaptive.unwrap_or(own.adaptive);
        own.jitter = raw.jitter.unwrap_or(own.jitter);
        let said = [&raw.min, &raw.default, &raw.max, &raw.t1, &raw.t2, &raw.preferred];
        if said.iter().all(|at| at.is_none()) {
            return own;
        }
        let take = |at: &Option<At<Span>>, time: &mut Time| {
            if let Some(at) = at {
                *time = Time::of(at);
            }
        };
        take(&raw.min, &mut own.min);
        take(&raw.default, &mut own.default);
        take(&raw.max, &mut own.max);
        own.t1 = raw.t1.as_ref().map(Time::of).or(own.t1);
        own.t2 = raw.t2.as_ref().map(Time::of).or(own.t2);
        own.preferred = raw.preferred.as_ref().map(Time::of).or(own.preferred);
        own.give_way();
        own.check(sink);
        let changed = |now: &Time, outer: &Time| {
            (now.said != outer.said || now.span != outer.span).then_some(now.span)
        };
        out.min = changed(&own.min, &self.min);
        out.default = changed(&own.default, &self.default);
        out.max = changed(&own.max, &self.max);
        out.t1 = raw.t1.as_ref().map(|at| at.value);
        out.t2 = raw.t2.as_ref().map(|at| at.value);
        out.preferred = raw.preferred.as_ref().map(|at| at.value);
        own
    }

    /// Fits what nobody said to what somebody did.
    fn give_way(&mut self) {
        if self.min.said.is_none() {
            for limit in [&self.default, &self.max] {
                if limit.said.is_some() {
                    self.min.span = self.min.span.min(limit.span);
                }
            }
        }
        if self.max.said.is_none() {
            for limit in [&self.default, &self.min] {
                if limit.said.is_some() {
                    self.max.span = self.max.span.max(limit.span);
                }
            }
        }
        if self.default.said.is_none() {
            self.default.span = self.default.span.min(self.max.span).max(self.min.span);
        }
    }

    fn check(&self, sink: &Sink) {
        not_above((&self.min, "min"), (&self.default, "default"), sink);
        not_above((&self.default, "default"), (&self.max, "max"), sink);
        if self.default.said.is_none() {
            not_above((&self.min, "min"), (&self.max, "max"), sink);
        }
        let (t1, t2) = (self.t1.as_ref(), self.t2.as_ref());
        if let (Some(t1), Some(t2)) = (t1, t2) {
            below((t1, "t1"), (t2, "t2"), sink);
        }
        if let Some((last, name)) = t2.map(|t| (t, "t2")).or(t1.map(|t| (t, "t1"))) {
            below((last, name), (&self.default, "default"), sink);
        }
        if let Some(preferred) = &self.preferred {
            let preferred = (preferred, "preferred");
            order(preferred, (&self.default, "default"), "preferred <= default", sink);
            // RFC 9915 s21.4: addresses are extended while they are preferred.
            if let Some(t2) = t2 {
                order((t2, "t2"), preferred, "t1 < t2 <= preferred", sink);
            }
        }
    }
}

/// Reports `low > high` if both were said.
fn not_above(low: (&Time, &str), high: (&Time, &str), sink: &Sink) {
    if high.0.said.is_some() {
        order(low, high, "min <= default <= max", sink);
    }
}

/// Reports `low > high` if `low` was said.
fn order(low: (&Time, &str), high: (&Time, &str), expected: &str, sink: &Sink) {
    let Some(low_at) = &low.0.said else { return };
    if low.0.span <= high.0.span {
        return;
    }
    let message =
        format!("lease {} {} is longer than {} {}", low.1, low.0.span, high.1, high.0.span);
    match &high.0.said {
        Some(high_at) => report(message, expected, low_at, high_at, sink),
        None => sink.push(Fault::new(FaultKind::Conflict, low_at, message).expected(expected)),
    }
}

/// Reports `low >= high`.
fn below(low: (&Time, &str), high: (&Time, &str), sink: &Sink) {
    let Some(low_at) = &low.0.said else { return };
    if low.0.span < high.0.span {
        return;
    }
    let message =
        format!("lease {} {} is not before {} {}", low.1, low.0.span, high.1, high.0.span);
    match &high.0.said {
        Some(high_at) => report(message, "t1 < t2 < default", low_at, high_at, sink),
        None => {
            let fault = Fault::new(FaultKind::Conflict, low_at, message);
            sink.push(fault.expected("t1 < t2 < default"));
        }
    }
}

/// The later of the two places is at fault.
fn report(message: String, expected: &str, a: &Place, b: &Place, sink: &Sink) {
    let (first, second) = if a.span.start < b.span.start { (a, b) } else { (b, a) };
    let fault = Fault::new(FaultKind::Conflict, second, message).expected(expected);
    sink.push(fault.related(first, "against this"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64, start: usize) -> Option<At<Span>> {
        let place = Place { span: start..start + 1, key: String::new() };
        Some(At { value: Span::from_secs(secs), place })
    }

    fn inner(outer: &Times, raw: RawLease) -> (LeaseTimes, Times, usize) {
        let sink = Sink::default();
        let mut out = LeaseTimes::default();
        let times = outer.inner(&raw, &mut out, &sink);
        (out, times, sink.len())
    }

    #[test]
    fn built_in_times_match_the_policy() {
        let own = Times::BUILT_IN;
        let spans = (Some(own.min.span), Some(own.default.span), Some(own.max.span));
        let LeaseTimes { min, default, max, adaptive, jitter, .. } = LeaseTimes::DEFAULT;
        assert_eq!(spans, (min, default, max));
        assert_eq!((Some(own.adaptive), Some(own.jitter)), (adaptive, jitter));
    }

    #[test]
    fn what_nobody_said_gives_way() {
        let (out, _, faults) =
            inner(&Times::BUILT_IN, RawLease { default: at(60, 0), ..RawLease::default() });
        assert_eq!(
            (out.min, out.default, out.max, faults),
            (Some(Span::from_secs(60)), Some(Span::from_secs(60)), None, 0)
        );
        let (out, _, faults) =
            inner(&Times::BUILT_IN, RawLease { max: at(60, 0), ..RawLease::default() });
        assert_eq!(out.default, Some(Span::from_secs(60)));
        assert_eq!(faults, 0);
    }

    #[test]
    fn what_was_said_outside_binds_inside() {
        let (_, outer, _) =
            inner(&Times::BUILT_IN, RawLease { min: at(600, 0), ..RawLease::default() });
        let (_, _, faults) = inner(&outer, RawLease { default: at(60, 9), ..RawLease::default() });
        assert_eq!(faults, 1);
    }

    #[test]
    fn t1_and_t2_lie_before_the_end() {
        let raw = |t1, t2| RawLease { t1, t2, default: at(100, 0), ..RawLease::default() };
        assert_eq!(inner(&Times::BUILT_IN, raw(at(50, 1), at(80, 2))).2, 0);
        assert_eq!(inner(&Times::BUILT_IN, raw(at(80, 1), at(80, 2))).2, 1);
        assert_eq!(inner(&Times::BUILT_IN, raw(at(100, 1), None)).2, 1);
        assert_eq!(inner(&Times::BUILT_IN, raw(None, at(100, 1))).2, 1);
    }

    #[test]
    fn preferred_lies_between_t2_and_the_end() {
        let raw =
            |t2, preferred| RawLease { t2, preferred, default: at(100, 0), ..RawLease::default() };
        assert_eq!(inner(&Times::BUILT_IN, raw(at(80, 1), at(80, 2))).2, 0);
        assert_eq!(inner(&Times::BUILT_IN, raw(None, at(100, 2))).2, 0);
        assert_eq!(inner(&Times::BUILT_IN, raw(at(80, 1), at(79, 2))).2, 1);
        assert_eq!(inner(&Times::BUILT_IN, raw(None, at(101, 2))).2, 1);
        let (out, _, faults) =
            inner(&Times::BUILT_IN, RawLease { preferred: at(3601, 0), ..RawLease::default() });
        assert_eq!((out.preferred, faults), (Some(Span::from_secs(3601)), 1));
    }
}
