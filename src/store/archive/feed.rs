//! What the archive has yet to read of the journals.

use std::collections::VecDeque;

use crate::base::Timestamp;
use crate::store::journal::{Found, Source};

/// What there is to read, and who waits for it.
#[derive(Default)]
pub(super) struct Feed {
    pub(super) turns: VecDeque<Turn>,
    /// Turns that there ever were.
    begun: u64,
    /// Batches up to this one are in the archive, durably.
    pub(super) synced_to: u64,
    pub(super) trouble: Option<String>,
    pub(super) prune: Option<Timestamp>,
    /// Something was committed that somebody may want to hear of.
    pub(super) has_news: bool,
    /// The thread waits for something: to wake it when it does not is a system call for nothing.
    pub(super) is_waiting: bool,
    /// Somebody waits for a sync.
    pub(super) hurry: bool,
    pub(super) stop: bool,
}

/// Batches that stand one behind the other in a journal.
#[derive(Clone)]
pub(super) struct Turn {
    /// Tells it from other turns of the same journal.
    number: u64,
    pub(super) source: Source,
    /// Where the first one begins.
    pub(super) begin: u64,
    /// How far it was read.
    pub(super) read: u64,
    /// Where the last one ends; grows in the newest turn.
    pub(super) end: u64,
    /// The last one.
    pub(super) last: u64,
    /// Nothing is appended to it any more.
    pub(super) is_over: bool,
    /// Its file is kept for the archive alone.
    pub(super) is_backlog: bool,
}

impl Turn {
    pub(super) fn unread(&self) -> u64 {
        self.end - self.read
    }

    /// Whether `found` follows in the same file.
    pub(super) fn goes_on_with(&self, source: &Source, found: &Found) -> bool {
        self.is_over && self.end == found.offset && self.source.is(source)
    }
}

impl Feed {
    /// Adds a turn, of which nothing was read yet, from `begin` to `end` with batch `last`.
    pub(super) fn add(&mut self, source: Source, (begin, end): (u64, u64), last: u64) -> &mut Turn {
        self.begun += 1;
        let (is_over, is_backlog) = (false, false);
        self.turns.push_back(Turn {
            number: self.begun,
            source,
            begin,
            read: begin,
            end,
            last,
            is_over,
            is_backlog,
        });
        let at = self.turns.len() - 1;
        &mut self.turns[at]
    }

    /// Notes that a turn was read up to where it ended.
    pub(super) fn note_read(&mut self, done: &Turn) {
        if let Some(turn) = self.turns.iter_mut().find(|turn| turn.number == done.number) {
            turn.read = done.end;
        }
    }

    /// What is not durable is to be read again. What is may have been written over by now.
    pub(super) fn go_back(&mut self) {
        let synced_to = self.synced_to;
        let lost = self.turns.iter_mut().filter(|turn| turn.last > synced_to);
        lost.for_each(|turn| turn.read = turn.begin);
    }

    /// Whether there is something to do now.
    pub(super) fn is_busy(&self) -> bool {
        let has_backlog = || self.turns.iter().any(|turn| turn.is_backlog && turn.unread() > 0);
        self.stop || self.hurry || self.has_news || self.prune.is_some() || has_backlog()
    }

    /// All up to batch `to` is durable: turns that are over are done with.
    pub(super) fn synced(&mut self, to: u64) {
        self.synced_to = self.synced_to.max(to);
        let is_done = |turn: &Turn| turn.is_over && turn.last <= to && turn.unread() == 0;
        while self.turns.front().is_some_and(is_done) {
            self.turns.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A panic is how a test fails.

    use super::*;
    use crate::store::disk::Disk;
    use crate::store::journal::Journal;

    /// Batches have few lengths: an old turn of a journal may end where a new one is.
    #[test]
    fn turns_of_one_journal_are_told_apart() {
        let path = std::env::temp_dir().join(format!("fs-feed-{}", std::process::id()));
        std::fs::write(&path, []).unwrap();
        let source = Journal::open(&Disk::default(), &path, 7).unwrap().source();
        let mut feed = Feed::default();
        let old = feed.add(source.clone(), (512, 1024), 1);
        old.is_over = true;
        let old = old.clone();
        feed.note_read(&old);
        let new = feed.add(source, (512, 1024), 2).clone();
        feed.note_read(&new);
        let new = feed.turns.back_mut().unwrap();
        new.end = 1536;
        let new = new.clone();
        feed.note_read(&new);
        let unread: Vec<u64> = feed.turns.iter().map(Turn::unread).collect();
        assert_eq!(unread, [0, 0]);
        feed.synced(1);
        assert_eq!(feed.turns.len(), 1, "only what is over is done with");
        std::fs::remove_file(path).unwrap();
    }
}
