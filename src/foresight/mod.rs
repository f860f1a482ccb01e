//! The forecaster of a running server, without its thread: what came of each account and
//! application on each network in, what is said of the next period out, and what came of that.
//!
//! Pure: no clock, no IO, and the same answers to the same questions. Who owns one tells it the
//! time, and of the instances that came since ([`Foresight::observe`]); once in each period it asks
//! what is to be said ([`Foresight::turn`]), for so long as it can spare the time.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`history`] | how many came, by period |
//! | [`score`] | what came of what was said, beside fixed pools |
//! | [`keep`] | all of it as bytes, and from them |

pub mod history;
pub mod keep;
pub mod score;

use std::collections::BTreeMap;

use crate::base::{NetworkId, Span, Timestamp};
use crate::forecast::creates::{ACCOUNTS_MAX, Asked, Fleet};
use crate::lease::Owner;

use history::History;
use score::{Score, Scores};

/// Account and application on a network.
pub type Key = (NetworkId, Owner);

/// Which quantiles are said, in percent.
pub const QUANTILES: [u8; 8] = [10, 50, 70, 80, 90, 95, 98, 99];
/// Histories that end longer ago than this are not gone on with.
const CLOCK_BACK_MAX: Span = Span::from_secs(86_400);

/// What is done with forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// None are made.
    #[default]
    Off,
    /// They are made, and the score is kept of what they would have done.
    ForecastOnly,
    /// Shadows are held by them.
    On,
}

/// What is so of one account and application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What is done with its forecasts.
    pub mode: Mode,
    /// The quantile that is held ready, in percent.
    pub percent: u8,
    /// Who is served first where not all can be: the highest.
    pub priority: u8,
}

/// How long periods are, and how early they are forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A period: it divides a day.
    pub period: Span,
    /// How long before a period begins it is forecast; shorter than one.
    pub lead: Span,
}

/// What is said of one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of whom.
    pub key: Key,
    /// Whether shadows are to be held by it.
    pub mode: Mode,
    /// The end of the period.
    pub until: Timestamp,
    /// The middle of what is expected.
    pub count: u32,
    /// Percent, and how many it will not be more than with that probability; ascending in both.
    pub quantiles: Vec<(u8, u32)>,
}

/// What came of asking for forecasts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What is to be said.
    pub said: Vec<Said>,
    /// How many there was no time for: of them nothing is said, and what their policy keeps ready
    /// is all that they have.
    pub late: u64,
}

/// How many instances came in all when they were last counted.
#[derive(Clone, Debug, Default)]
pub struct Totals(BTreeMap<Key, u64>);

impl Totals {
    /// How many came since the last time, of so many in all. Where there are fewer than there were,
    /// whoever counts began anew.
    pub fn since(&mut self, key: &Key, total: u64) -> u64 {
        let before = match self.0.get_mut(key) {
            Some(known) => std::mem::replace(known, total),
            None => self.0.insert(key.clone(), total).unwrap_or(0),
        };
        if total < before { total } else { total - before }
    }

    /// Forgets those of whom nothing is counted any more.
    pub fn keep_only(&mut self, counted: impl Fn(&Key) -> bool) {
        self.0.retain(|key, _| counted(key));
    }
}

/// One account and application on a network.
#[derive(Debug)]
struct Line {
    history: History,
    /// The first period that the fleet's model has not learnt to its end.
    taught: Option<u64>,
    /// What was said of periods that are not over, by period.
    open: Vec<(u64, Vec<u32>, u8)>,
    score: Score,
}

/// All that is known, and the model.
#[derive(Debug)]
pub struct Foresight {
    pace: Pace,
    lines: BTreeMap<Key, Line>,
    fleet: Fleet,
    scores: Scores,
    /// When it was told of instances last.
    seen: Option<Timestamp>,
    /// Lines that found no room.
    refused: u64,
}

impl Foresight {
    /// One that knows nothing. A period of no length is a quarter of an hour.
    pub fn new(pace: Pace) -> Foresight {
        let period = if pace.period.0 < 1000 { Span::from_secs(900) } else { pace.period };
        let lead = Span(pace.lead.0.min(period.0 - 1));
        Foresight {
            pace: Pace { period, lead },
            lines: BTreeMap::new(),
            fleet: Fleet::new(),
            scores: Scores::default(),
            seen: None,
            refused: 0,
        }
    }

    /// How long periods are.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// How many accounts and applications on networks have a history.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How often an instance came for which there was no room to remember it.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What came of all forecasts.
    pub fn scores(&self) -> &Scores {
        &self.scores
    }

    /// Each account and application with its own score.
    pub fn each(&self) -> impl Iterator<Item = (&Key, &Score)> {
        self.lines.iter().map(|(key, line)| (key, &line.score))
    }

    /// The instances that came since the last time, at most a period ago: told often, and with
    /// nothing where none came. What came after a longer silence is of no known period.
    pub fn observe(&mut self, now: Timestamp, came: &[(Key, u64)]) {
        if self.seen.is_some_and(|seen| now + CLOCK_BACK_MAX < seen) {
            // The clock was wrong then, or is now: what was learnt is of other hours.
            *self = Foresight { refused: self.refused, ..Foresight::new(self.pace) };
        }
        // A clock that is a little behind what it was stands still until it is there again.
        let now = self.seen.map_or(now, |seen| seen.max(now));
        let silent = self.seen.is_none_or(|seen| now.since(seen) > self.pace.period);
        let (running, before) = (self.index(now), self.seen.map(|seen| self.index(seen)));
        self.seen = Some(now);
        for line in self.lines.values_mut() {
            if silent {
                // What was said of a time that nobody watched is not judged.
                line.open.clear();
            }
            close(line, running, silent, &mut self.scores);
        }
        if silent || before.is_none() {
            return;
        }
        for (key, count) in came {
            if !self.lines.contains_key(key) {
                if self.lines.len() >= ACCOUNTS_MAX {
                    self.refused += count;
                    continue;
                }
                self.lines.insert(key.clone(), Line::new(running));
            }
            if let Some(line) = self.lines.get_mut(key) {
                line.history.add(*count);
            }
        }
    }

    /// Forecasts the period that begins within the lead, for everyone whose it was not yet; the
    /// most important first, until `is_spent`.
    pub fn turn(
        &mut self,
        now: Timestamp,
        terms: impl Fn(&Key) -> Option<Terms>,
        mut is_spent: impl FnMut() -> bool,
    ) -> Turn {
        let period = self.index(now + self.pace.lead);
        let mut turn = Turn::default();
        let mut due: Vec<(u8, u64, Key, Terms)> = Vec::new();
        let mut gone = Vec::new();
        for (key, line) in &self.lines {
            match terms(key) {
                Some(terms) if terms.mode != Mode::Off => {
                    if line.open.iter().all(|(of, ..)| *of != period) {
                        due.push((terms.priority, line.history.recent(), key.clone(), terms));
                    }
                }
                _ => gone.push(key.clone()),
            }
        }
        gone.iter().for_each(|key| drop(self.lines.remove(key)));
        due.sort_by(|a, b| (b.0, b.1, &a.2).cmp(&(a.0, a.1, &b.2)));
        for (at, (_, _, key, terms)) in due.iter().enumerate() {
            if is_spent() {
                turn.late = (due.len() - at) as u64;
                self.scores.late += turn.late;
                break;
            }
            turn.said.extend(self.say(key, *terms, period));
        }
        turn
    }

    fn say(&mut self, key: &Key, terms: Terms, period: u64) -> Option<Said> {
        let length = self.pace.period;
        let line = self.lines.get_mut(key)?;
        let from = line.taught.unwrap_or(0).max(line.history.first());
        // The running period counts as far as it went, and is told again when it is over; where it is
        // itself the one that is asked about, it does not.
        let mut known: Vec<f64> = line.history.since(from).collect();
        if period <= line.history.running() {
            known.pop();
        }
        if known.is_empty() && line.taught.is_some() {
            return None;
        }
        let wanted = QUANTILES.map(|percent| f64::from(percent) / 100.0);
        let name = name(key);
        let rows = self.fleet.forecast(&Asked {
            account: &name,
            start: Timestamp(from.checked_mul(length.0)?),
            step: length,
            history: &known,
            horizon: 1,
            quantiles: &wanted,
            plans: &[],
        });
        line.taught = Some(line.history.running());
        let mut most = 0;
        let values = rows.iter().map(|row| {
            let value = row.last().copied().unwrap_or_default();
            // Never less than a lower quantile; a cast of what is too large stops at the type's end.
            most = most.max(value.round() as u32);
            most
        });
        let values: Vec<u32> = values.collect();
        let quantiles: Vec<_> = QUANTILES.into_iter().zip(values.iter().copied()).collect();
        let count = *values.get(1)?;
        line.open.push((period, values, terms.percent));
        let until = Timestamp((period + 1).checked_mul(length.0)?);
        Some(Said { key: key.clone(), mode: terms.mode, until, count, quantiles })
    }

    fn index(&self, at: Timestamp) -> u64 {
        at.0 / self.pace.period.0
    }
}

impl Line {
    fn new(running: u64) -> Line {
        let history = History::new(running);
        Line { history, taught: None, open: Vec::new(), score: Score::default() }
    }
}

/// Ends the periods of a line that are over, and judges what was said of them.
fn close(line: &mut Line, running: u64, silent: bool, scores: &mut Scores) {
    let ended = line.history.running();
    if running <= ended {
        return;
    }
    let count = line.history.newest();
    for (_, values, percent) in line.open.extract_if(.., |(of, ..)| *of <= ended) {
        let held = QUANTILES.iter().zip(&values).find(|(of, _)| **of >= percent);
        let held = held.map(|(_, held)| *held).or(values.last().copied()).unwrap_or_default();
        let band = (values.first().copied(), values.get(4).copied());
        let inside = (band.0.unwrap_or(0)..=band.1.unwrap_or(u32::MAX)).contains(&count);
        line.score.judge(count, held, inside);
        scores.judge(count, held, inside);
    }
    line.open.retain(|(of, ..)| *of >= running);
    line.history.advance(running, silent);
}

/// What the fleet's model calls it.
fn name((network, (account, application)): &Key) -> String {
    format!("{}/{account}/{}", network.0, application.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests;
