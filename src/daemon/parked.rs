//! What waits until a batch is durable: replies that promise an address, answers to operators,
//! and word of what happened.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::Reply;
use crate::engine::effects::{Effects, Event};
use crate::lease::Seq;

/// Told once whether what was asked is durable; `Err` says why it is not.
pub type Confirm = Box<dyn FnOnce(Result<(), &str>) + Send>;

/// Why a change that was asked for was taken back.
pub const LOST: &str = "the store could not write it; nothing was changed";
/// Buffers kept for the next batches.
const SPARE_MAX: usize = 8;

/// Everything that waits, in the order of its batches.
#[derive(Default)]
pub struct Parked {
    waiting: VecDeque<Held>,
    spare: Vec<Held>,
    /// The last batch given to the committer.
    newest: Seq,
    /// The last batch that is durable.
    durable: Seq,
}

/// What one batch promised.
#[derive(Default)]
pub struct Held {
    seq: Seq,
    /// Payloads of `replies`.
    pub bytes: Vec<u8>,
    /// To be sent.
    pub replies: Vec<Reply>,
    /// To be told.
    pub events: Vec<Event>,
    /// When its packets were received.
    pub began: Option<Instant>,
    confirm: Option<Confirm>,
}

impl Parked {
    /// Nothing waits; `last` is the last batch in the store.
    pub fn new(last: Seq) -> Parked {
        Parked { newest: last, durable: last, ..Parked::default() }
    }

    /// The last batch given to the committer.
    pub fn newest(&self) -> Seq {
        self.newest
    }

    /// How long the oldest promise has been waiting.
    pub fn waited(&self) -> Duration {
        let oldest = self.waiting.front().and_then(|held| held.began);
        oldest.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// How many batches wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the promises of the batch that was just closed out of `fx`. `seq` is its number if
    /// it has changes; else it may rest on changes of earlier batches, and waits for these.
    pub fn park(
        &mut self,
        seq: Option<Seq>,
        fx: &mut Effects,
        began: Instant,
        confirm: Option<Confirm>,
    ) {
        self.newest = seq.unwrap_or(self.newest);
        if seq.is_none() && fx.send_after.is_empty() && confirm.is_none() {
            return;
        }
        let mut held = self.spare.pop().unwrap_or_default();
        (held.seq, held.began, held.confirm) = (self.newest, Some(began), confirm);
        std::mem::swap(&mut held.bytes, &mut fx.bytes);
        std::mem::swap(&mut held.replies, &mut fx.send_after);
        std::mem::swap(&mut held.events, &mut fx.events);
        self.waiting.push_back(held);
    }

    /// All batches up to `seq` are durable.
    pub fn committed(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq);
    }

    /// Takes out the next promise that may be kept. Give it back to [`Parked::recycle`] when it
    /// is kept.
    pub fn next_due(&mut self) -> Option<Held> {
        self.waiting.front().filter(|held| held.seq <= self.durable)?;
        self.waiting.pop_front()
    }

    /// Batch `seq` and all later ones are lost: drops what they promised; the number of replies.
    pub fn failed(&mut self, seq: Seq) -> usize {
        let mut lost = 0;
        while self.waiting.back().is_some_and(|held| held.seq >= seq) {
            let Some(mut held) = self.waiting.pop_back() else { break };
            lost += held.replies.len();
            if let Some(confirm) = held.confirm.take() {
                confirm(Err(LOST));
            }
            self.recycle(held);
        }
        lost
    }

    /// Keeps the memory of a promise for the next one.
    pub fn recycle(&mut self, mut held: Held) {
        held.bytes.clear();
        held.replies.clear();
        held.events.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(held);
        }
    }
}

impl Held {
    /// Tells whoever asked that it is durable.
    pub fn confirm(&mut self) {
        if let Some(confirm) = self.confirm.take() {
            confirm(Ok(()));
        }
    }
}

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (newest, durable) = (self.newest, self.durable);
        write!(f, "Parked {{ {} waiting, {newest:?}, {durable:?} }}", self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use crate::base::{LinkId, Mac};
    use crate::engine::Destination;
    use crate::engine::tally::Answered;

    use super::*;

    fn promise(text: &str) -> Effects {
        let ip = Ipv4Addr::UNSPECIFIED;
        let to = Destination::Frame { link: LinkId(1), mac: Mac::ZERO, from: ip, ip };
        Effects {
            bytes: text.as_bytes().to_vec(),
            send_after: vec![Reply { to, kind: Answered::Ack, payload: 0..text.len() }],
            ..Effects::default()
        }
    }

    fn park(parked: &mut Parked, seq: Option<u64>, text: &str) {
        parked.park(seq.map(Seq), &mut promise(text), Instant::now(), None);
    }

    fn due(parked: &mut Parked) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(mut held) = parked.next_due() {
            held.confirm();
            texts.push(String::from_utf8(held.bytes.clone()).unwrap());
            parked.recycle(held);
        }
        texts
    }

    #[test]
    fn promises_wait_for_their_batch_and_leave_in_order() {
        let mut parked = Parked::new(Seq(7));
        for (seq, text) in [(8, "a"), (9, "b"), (10, "c")] {
            park(&mut parked, Some(seq), text);
        }
        assert_eq!(due(&mut parked), [""; 0]);
        parked.committed(Seq(9));
        assert_eq!(due(&mut parked), ["a", "b"]);
        parked.committed(Seq(10));
        assert_eq!(due(&mut parked), ["c"]);
    }

    #[test]
    fn a_batch_without_changes_waits_for_the_ones_before_it() {
        let mut parked = Parked::new(Seq(7));
        park(&mut parked, None, "at once");
        assert_eq!(due(&mut parked), ["at once"]);
        park(&mut parked, Some(8), "");
        park(&mut parked, None, "after 8");
        assert_eq!(due(&mut parked), [""; 0]);
        parked.committed(Seq(8));
        assert_eq!(due(&mut parked), ["", "after 8"]);
    }

    #[test]
    fn a_failure_drops_its_batch_and_all_later_ones() {
        let mut parked = Parked::new(Seq(0));
        let (sender, answers) = mpsc::channel();
        for seq in 1..=3 {
            let sender = sender.clone();
            let confirm: Confirm =
                Box::new(move |outcome| sender.send((seq, outcome.is_ok())).unwrap());
            let mut fx = promise(&seq.to_string());
            parked.park(Some(Seq(seq)), &mut fx, Instant::now(), Some(confirm));
        }
        assert_eq!(parked.failed(Seq(2)), 2);
        parked.committed(Seq(3));
        assert_eq!(due(&mut parked), ["1"]);
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(3, false), (2, false), (1, true)]);
    }
}
