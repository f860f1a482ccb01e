//! Word of what happened, on its way to the thread that tells people.
//!
//! To wake that thread costs as much as to answer a packet, so events are gathered for a moment.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use crate::base::{Span, Timestamp};
use crate::engine::effects::{Event, EventKind};

use super::counters::Counters;
use super::log::tells_offers;

/// How long events are gathered.
const GATHER: Span = Span::from_ms(20);
/// How many are gathered at most.
const GATHER_MAX: usize = 1024;

/// What happened, in order; what changed something is told when it is durable. Each event has
/// the time from the receipt of its batch until the batch's answers left.
#[derive(Debug, Default)]
pub struct Told {
    /// The events.
    pub events: Vec<(Event, Duration)>,
}

/// The driver's end. It never waits: what does not fit is counted and lost.
#[derive(Debug)]
pub struct Telling {
    sender: SyncSender<Told>,
    gathered: Told,
    due: Option<Timestamp>,
    counters: Arc<Counters>,
    /// Whoever watches wants to know of every offer.
    observing: bool,
}

impl Telling {
    /// Tells whoever is at the other end of `sender`.
    pub fn new(sender: SyncSender<Told>, counters: Arc<Counters>, observing: bool) -> Telling {
        Telling { sender, gathered: Told::default(), due: None, counters, observing }
    }

    /// Counts events and takes them out of `events`; they are told soon.
    pub fn note(&mut self, now: Timestamp, events: &mut Vec<Event>, took: Duration) {
        if events.is_empty() {
            return;
        }
        events.iter().for_each(|event| self.counters.event(event));
        // Half of all events, and of interest only to the log where it says so.
        let offers = self.observing || tells_offers();
        let wanted = |event: &Event| offers || !matches!(event.kind, EventKind::Offered(_));
        self.gathered.events.extend(events.drain(..).filter(wanted).map(|event| (event, took)));
        self.due.get_or_insert(now + GATHER);
        if self.gathered.events.len() >= GATHER_MAX {
            self.tell();
        }
    }

    /// When [`Telling::tell`] is due.
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Tells what was gathered.
    pub fn tell(&mut self) {
        self.due = None;
        let told = std::mem::take(&mut self.gathered);
        if told.events.is_empty() {
            return;
        }
        let (TrySendError::Full(lost) | TrySendError::Disconnected(lost)) =
            match self.sender.try_send(told) {
                Ok(()) => return,
                Err(error) => error,
            };
        self.counters.events_lost.add(lost.events.len() as u64);
    }
}
