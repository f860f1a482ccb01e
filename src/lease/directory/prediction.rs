//! How many instances somebody foresees.

use std::sync::Arc;

use crate::base::{NetworkId, Timestamp};

use super::Owner;
use crate::lease::Foreseer;

/// How many instances of an owner will start on a network, as somebody said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Its id.
    pub id: Arc<str>,
    /// Who says so.
    pub by: Foreseer,
    /// When it was said.
    pub made: Timestamp,
    /// The end of its horizon: so many will start between `made` and then, and it is not believed
    /// any longer.
    pub until: Timestamp,
    /// How many are expected.
    pub count: u32,
    /// Percent, and how many it will not be more than with that probability; ascending in both.
    pub quantiles: Vec<(u8, u32)>,
    /// What type of instance.
    pub instance_type: Option<Box<str>>,
    /// Where.
    pub region: Option<Box<str>>,
    /// What one of them needs, as JSON.
    pub requirements: Option<Box<str>>,
}

/// What is foreseen for an owner on a network: the last word, and the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foresight {
    /// The segment.
    pub network: NetworkId,
    /// Account and application.
    pub owner: Owner,
    /// What was said last.
    pub current: Prediction,
    /// What was said before it: a fall is believed when it is said twice.
    pub previous: Option<Prediction>,
}

impl Prediction {
    /// How many are to be ready so that they suffice in so many percent of cases.
    pub fn at(&self, percent: u8) -> u32 {
        let found = self.quantiles.iter().find(|(of, _)| *of >= percent);
        found.or(self.quantiles.last()).map_or(self.count, |(_, count)| *count)
    }

    /// The same, less what has started since; nothing once it is not believed any more.
    pub fn rest(&self, percent: u8, started: u64, now: Timestamp) -> u32 {
        let due = if now < self.until { u64::from(self.at(percent)) } else { 0 };
        u32::try_from(due.saturating_sub(started)).unwrap_or(u32::MAX)
    }
}

impl Foresight {
    /// The same after another word.
    pub fn then(&self, next: Prediction) -> Foresight {
        Foresight { previous: Some(self.current.clone()), current: next, ..self.clone() }
    }
}
