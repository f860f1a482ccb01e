//! What the signs of one VM amount to.

use crate::base::Mac;

use super::{
    Evidence, Health, Missing, Moment, PAUSE_MAX_MS, ProbePolicy, Question, REPORT_STANDS_MS,
    Reporter, Sign, Verdict, Watch, Why,
};

/// A millisecond.
const MS: u64 = 1_000_000;

/// What came of a sign; used again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What is to be told.
    pub verdicts: Vec<Verdict>,
    /// What is to be done, in this order.
    pub questions: Vec<Question>,
}

impl Outcome {
    /// Forgets both and keeps the memory.
    pub fn clear(&mut self) {
        self.verdicts.clear();
        self.questions.clear();
    }
}

/// Watches one VM. The module's rules are kept here.
#[derive(Clone, Debug)]
pub struct Detector {
    mac: Mac,
    policy: ProbePolicy,
    /// When the next round goes out; `None` where there is no address to ask for.
    next_round: Option<Moment>,
    /// When the round that waits for an answer went out.
    unanswered: Option<Moment>,
    /// Rounds in a row that we were too late for.
    void: u32,
    /// It answered once: that it does not any more is worth something.
    has_answered: bool,
    silence: Silence,
    last_life: Option<Moment>,
    counters: Option<(u64, u64)>,
    /// Its counters were asked for, and may yet be the second sign of this round.
    awaits_counters: bool,
    heartbeat: Option<Moment>,
    /// Of its agent and of itself.
    reports: [Option<(Moment, Health)>; 2],
    has_ended: bool,
    link: LinkState,
    paused_until: Option<Moment>,
    stage: Stage,
    misfires: u64,
}

/// A row of lost rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    lost: u32,
    since: Option<Moment>,
    /// What its port had taken from it when that was last looked at.
    rx: Option<u64>,
    /// How often in a row it was found to be the same.
    still: u32,
    other_mac: Option<Mac>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    Up,
    Down,
    Gone,
}

/// What was said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Well,
    Suspected(Missing),
    Confirmed(Why, Moment),
}

impl Detector {
    /// Begins to watch a VM that runs and whose port has a link. Rounds of many VMs are spread
    /// over the interval by their names, and go out on whole milliseconds, so that a thousand cost
    /// no thousand wake-ups.
    pub fn new(watch: &Watch, now: Moment) -> Detector {
        let spread = watch.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let spread_ms = spread % u64::from(watch.policy.interval_ms);
        let first = Moment(now.0.next_multiple_of(MS)) + spread_ms * MS;
        Detector {
            mac: watch.mac,
            policy: watch.policy,
            next_round: (!watch.addrs.is_empty()).then_some(first),
            unanswered: None,
            void: 0,
            has_answered: false,
            silence: Silence::default(),
            last_life: None,
            counters: None,
            awaits_counters: false,
            heartbeat: None,
            reports: [None; 2],
            has_ended: false,
            link: LinkState::Up,
            paused_until: None,
            stage: Stage::Well,
            misfires: 0,
        }
    }

    /// Takes in a sign and appends what comes of it.
    pub fn handle(&mut self, now: Moment, sign: Sign, out: &mut Outcome) {
        match sign {
            Sign::Time => {}
            Sign::ProcessEnded => self.has_ended = true,
            Sign::LinkUp => self.link = LinkState::Up,
            Sign::LinkDown => self.link = LinkState::Down,
            Sign::LinkGone => self.link = LinkState::Gone,
            Sign::ProbeAnswered { by } if by == self.mac => {
                if !std::mem::replace(&mut self.has_answered, true) {
                    out.verdicts.push(Verdict::Answers { at: now });
                }
                self.live(now);
            }
            Sign::ProbeAnswered { by } => self.silence.other_mac = Some(by),
            Sign::PortCounters { rx, tx } => self.count(rx, tx),
            Sign::NoCounters => self.awaits_counters = false,
            Sign::NotAsked => self.unanswered = None,
            Sign::AgentHeartbeat => self.heartbeat = Some(now),
            Sign::Report { by, health } => self.report(now, by, health),
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.resume_rounds(now);
        }
        if self.paused_until.is_none() {
            self.round(now, out);
            self.judge(now, out);
        }
    }

    /// When [`Sign::Time`] is due.
    pub fn next_wakeup(&self) -> Option<Moment> {
        self.paused_until.or(self.next_round)
    }

    /// Says nothing until then, [`PAUSE_MAX_MS`] from now at the latest: a migration was announced.
    pub fn pause(&mut self, now: Moment, until: Moment) {
        let latest = now + PAUSE_MAX_MS * MS;
        self.paused_until = Some(until.min(latest));
    }

    /// Ends a pause; what then holds is said.
    pub fn resume(&mut self, now: Moment, out: &mut Outcome) {
        if self.paused_until.is_some() {
            self.resume_rounds(now);
            self.handle(now, Sign::Time, out);
        }
    }

    /// Whether it says nothing for now.
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Failures confirmed by lost probes that were none.
    pub fn misfires(&self) -> u64 {
        self.misfires
    }

    /// All that is known at `now`.
    pub fn evidence(&self, now: Moment) -> Evidence {
        Evidence {
            lost: self.silence.lost,
            last_life: self.last_life,
            silent_since: self.silence.since,
            still: self.silence.still,
            counters: self.counters,
            other_mac: self.silence.other_mac,
            reports: [Reporter::Agent, Reporter::Guest].map(|by| self.standing(now, by)),
        }
    }

    fn resume_rounds(&mut self, now: Moment) {
        self.paused_until = None;
        (self.unanswered, self.void, self.silence) = (None, 0, Silence::default());
        self.awaits_counters = false;
        self.next_round = self.next_round.map(|_| Moment(now.0.next_multiple_of(MS)));
    }

    /// It was heard: a row of lost rounds ends.
    fn live(&mut self, now: Moment) {
        self.last_life = Some(now);
        (self.unanswered, self.void, self.silence) = (None, 0, Silence::default());
        self.awaits_counters = false;
    }

    fn count(&mut self, rx: u64, tx: u64) {
        self.counters = Some((rx, tx));
        self.awaits_counters = false;
        let silence = &mut self.silence;
        if silence.lost > 0 {
            // One look for each lost round: what stays the same is not the jitter of our clock.
            let same = silence.rx.replace(rx) == Some(rx);
            silence.still = if same { silence.still.saturating_add(1) } else { 0 };
        }
    }

    fn report(&mut self, now: Moment, by: Reporter, health: Health) {
        self.reports[slot(by)] = Some((now, health));
        match (by, health) {
            (Reporter::Guest, Health::Healthy) => self.live(now),
            (Reporter::Agent, _) => self.heartbeat = Some(now),
            (Reporter::Guest, Health::Failing) => {}
        }
    }

    /// What a reporter said, if it is not too long ago.
    fn standing(&self, now: Moment, by: Reporter) -> Option<Health> {
        let (at, health) = self.reports[slot(by)]?;
        (now.nanos_since(at) < REPORT_STANDS_MS * MS).then_some(health)
    }

    /// Sends the round that is due, and counts the one before it.
    fn round(&mut self, now: Moment, out: &mut Outcome) {
        let Some(due) = self.next_round.filter(|due| *due <= now) else { return };
        let interval = self.policy.interval_ns();
        let is_late = now.nanos_since(due) > interval / 2;
        self.awaits_counters = false;
        if let Some(sent) = self.unanswered {
            if is_late && self.void < self.policy.lost {
                self.void += 1;
            } else {
                self.silence.lost = self.silence.lost.saturating_add(1);
                self.silence.since.get_or_insert(sent);
                self.awaits_counters = true;
                out.questions.push(Question::Counters);
            }
        }
        if !is_late {
            self.void = 0;
        }
        self.unanswered = Some(now);
        // The next has half an interval at least in which to be answered.
        let from = if is_late { Moment(now.0 / MS * MS) } else { due };
        self.next_round = Some(from + interval);
        out.questions.push(Question::Probe);
    }

    fn judge(&mut self, now: Moment, out: &mut Outcome) {
        if let Some(why) = self.certain() {
            return self.confirm(why, now, out);
        }
        if let Stage::Confirmed(by, at) = self.stage {
            let by_link = matches!(by, Why::LinkDown | Why::LinkGone);
            let unasked = self.next_round.is_none() && by_link;
            if unasked || self.last_life.is_some_and(|life| life >= at) {
                self.recover(!by_link, now, out);
            }
            return;
        }
        let failing = |by| self.standing(now, by) == Some(Health::Failing);
        let is_failing = failing(Reporter::Agent) || failing(Reporter::Guest);
        if self.silence.lost >= self.policy.lost {
            match self.has_answered.then(|| self.second_sign(now)) {
                Some(Some(why)) => self.confirm(why, now, out),
                // It may come at once.
                Some(None) if self.awaits_counters => {}
                Some(None) => self.suspect(Missing::SecondSign, now, out),
                None => self.suspect(Missing::FirstAnswer, now, out),
            }
        } else if self.silence.lost == 0 && is_failing {
            self.suspect(Missing::LostProbes, now, out);
        } else if self.silence.lost == 0 && self.stage != Stage::Well {
            self.recover(false, now, out);
        }
    }

    /// A sign that is enough by itself.
    fn certain(&self) -> Option<Why> {
        match (self.has_ended, self.link) {
            (true, _) => Some(Why::ProcessEnded),
            (_, LinkState::Gone) => Some(Why::LinkGone),
            (_, LinkState::Down) => Some(Why::LinkDown),
            (_, LinkState::Up) => None,
        }
    }

    /// What makes of lost probes a failure.
    fn second_sign(&self, now: Moment) -> Option<Why> {
        let failing = |by| self.standing(now, by) == Some(Health::Failing);
        let heartbeats = self.heartbeat.zip(self.policy.heartbeat_ms);
        if !self.policy.second_sign {
            Some(Why::ProbesLost)
        } else if self.silence.still + 1 >= self.policy.lost {
            Some(Why::PortSilent)
        } else if let Some(by) =
            [Reporter::Agent, Reporter::Guest].into_iter().find(|by| failing(*by))
        {
            Some(Why::Reported(by))
        } else {
            let is_silent =
                |(last, most): (Moment, u32)| now.nanos_since(last) >= u64::from(most) * MS;
            heartbeats.is_some_and(is_silent).then_some(Why::AgentSilent)
        }
    }

    fn confirm(&mut self, why: Why, at: Moment, out: &mut Outcome) {
        if !matches!(self.stage, Stage::Confirmed(..)) {
            self.stage = Stage::Confirmed(why, at);
            out.verdicts.push(Verdict::Confirmed { why, evidence: self.evidence(at), at });
        }
    }

    fn suspect(&mut self, missing: Missing, at: Moment, out: &mut Outcome) {
        if self.stage != Stage::Suspected(missing) {
            self.stage = Stage::Suspected(missing);
            out.verdicts.push(Verdict::Suspected { missing, evidence: self.evidence(at), at });
        }
    }

    fn recover(&mut self, misfire: bool, at: Moment, out: &mut Outcome) {
        self.stage = Stage::Well;
        self.misfires += u64::from(misfire);
        out.verdicts.push(Verdict::Recovered { misfire, misfires: self.misfires, at });
    }
}

fn slot(by: Reporter) -> usize {
    match by {
        Reporter::Agent => 0,
        Reporter::Guest => 1,
    }
}

#[cfg(test)]
mod tests;
