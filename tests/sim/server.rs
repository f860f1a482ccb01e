//! The server without its threads and sockets: the engine, what waits for the disk, and the
//! writer, put together as the driver does it, with a queue for what the disk has yet to do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foreshadow::base::Timestamp;
use foreshadow::config::Policy;
use foreshadow::daemon::parked::Parked;
use foreshadow::daemon::writer::{Need, Report, Writer};
use foreshadow::engine::effects::Probe;
use foreshadow::engine::tally::{Asked, Outcome};
use foreshadow::engine::{Destination, Effects, Engine, Input};
use foreshadow::lease::{Change, Seq};
use foreshadow::store::{Contents, Store};

/// Something that leaves the server.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: Destination,
    pub(crate) bytes: Vec<u8>,
    /// When it was decided, and in which turn.
    pub(crate) decided: (Timestamp, u64),
}

enum Item {
    Group(Seq, Seq, Vec<Change>),
    Restart(Need, Contents),
}

/// A running server.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    fx: Effects,
    parked: Parked,
    /// When the batches that wait were decided, in their order.
    decided: VecDeque<(usize, (Timestamp, u64))>,
    writer: Writer,
    /// Facts about the server itself.
    meta: BTreeMap<Box<str>, Box<[u8]>>,
    store_ok: bool,
    queue: VecDeque<Item>,
    /// What the disk is at.
    busy: Option<Item>,
    base: Instant,
    /// What left since the last look.
    pub(crate) sent: Vec<Outgoing>,
    /// What was asked of the wire.
    pub(crate) probes: Vec<Probe>,
    /// How often something was decided.
    pub(crate) turn: u64,
    /// What became of the packets of the last turn.
    pub(crate) outcomes: Vec<(Asked, Outcome)>,
    /// Failed commits so far.
    pub(crate) failed: u64,
    /// Up to where all is durable, and from where all is lost, in their order.
    pub(crate) heard: Vec<Result<Seq, Seq>>,
}

impl Server {
    /// Starts with what the store held. `ticks` are the milliseconds that the disk's side goes by.
    pub(crate) fn start(
        policy: Arc<Policy>,
        store: Box<dyn Store>,
        contents: Contents,
        ticks: Arc<AtomicU64>,
    ) -> Server {
        let base = Instant::now();
        let at = move || base + Duration::from_millis(ticks.load(Ordering::Relaxed));
        let seq = contents.seq;
        let mut engine = Engine::new(policy, contents.leases, seq);
        let meta = engine.load_facts(contents.meta).expect("we read what we wrote");
        Server {
            engine,
            meta,
            fx: Effects::default(),
            parked: Parked::new(seq),
            decided: VecDeque::new(),
            writer: Writer::new(store, Box::new(at)),
            store_ok: true,
            queue: VecDeque::new(),
            busy: None,
            base,
            sent: Vec::new(),
            probes: Vec::new(),
            turn: 0,
            outcomes: Vec::new(),
            failed: 0,
            heard: Vec::new(),
        }
    }

    pub(crate) fn input(&mut self, now: Timestamp, input: Input<'_>) {
        self.engine.handle(now, input, &mut self.fx);
        self.flush(now);
    }

    /// Calls the engine as the control plane does; with the number of what became of it.
    pub(crate) fn act<T>(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut Engine, &mut Effects) -> T,
    ) -> (T, Option<Seq>) {
        let said = call(&mut self.engine, &mut self.fx);
        (said, self.flush(now))
    }

    /// Whether that is a fact about the server itself.
    pub(crate) fn is_note(&self, name: &str) -> bool {
        self.meta.contains_key(name)
    }

    /// Writes down a fact about the server itself.
    pub(crate) fn note(&mut self, now: Timestamp, name: &str, value: &[u8]) {
        if self.store_ok {
            self.meta.insert(name.into(), value.into());
            self.engine.note(name, value, &mut self.fx);
            self.flush(now);
        }
    }

    pub(crate) fn set_policy(&mut self, now: Timestamp, policy: Arc<Policy>) {
        self.engine.set_policy(policy);
        self.flush(now);
    }

    /// Closes the batch and carries out its effects, in the order in which the driver does.
    fn flush(&mut self, now: Timestamp) -> Option<Seq> {
        self.turn += 1;
        let decided = (now, self.turn);
        for reply in self.fx.send_now.drain(..) {
            let bytes = self.fx.bytes[reply.payload.clone()].to_vec();
            self.sent.push(Outgoing { to: reply.to, bytes, decided });
        }
        self.probes.append(&mut self.fx.probes);
        let seq = self.engine.end_batch();
        assert!(seq.is_some() || self.fx.changes.is_empty(), "changes without a batch");
        if let (Some(seq), true) = (seq, self.store_ok) {
            self.enqueue(seq);
        }
        self.decided.push_back((self.fx.send_after.len(), decided));
        let waits = seq.is_some() || !self.fx.send_after.is_empty();
        if !waits {
            self.decided.pop_back();
        }
        self.parked.park(seq, &mut self.fx, self.base, None);
        if let (Some(seq), false) = (seq, self.store_ok) {
            self.take_back(now, seq);
        }
        self.fx.changes.clear();
        self.fx.events.clear();
        self.outcomes.clear();
        self.outcomes.append(&mut self.fx.outcomes);
        self.send_due();
        self.fx.bytes.clear();
        seq
    }

    /// Joins what waits already, so that one sync serves them all.
    fn enqueue(&mut self, seq: Seq) {
        let changes = &mut self.fx.changes;
        match self.queue.back_mut() {
            Some(Item::Group(_, last, group)) => {
                *last = seq;
                group.append(changes);
            }
            _ => self.queue.push_back(Item::Group(seq, seq, std::mem::take(changes))),
        }
    }

    fn send_due(&mut self) {
        while let Some(held) = self.parked.next_due() {
            let (count, decided) = self.decided.pop_front().expect("as many as are parked");
            assert_eq!(count, held.replies.len());
            for reply in &held.replies {
                let bytes = held.bytes[reply.payload.clone()].to_vec();
                self.sent.push(Outgoing { to: reply.to, bytes, decided });
            }
            self.parked.recycle(held);
        }
    }

    /// Whether the disk has something to begin with.
    pub(crate) fn wants_disk(&self) -> bool {
        self.busy.is_none() && !self.queue.is_empty()
    }

    /// The disk begins with what waits; more may gather behind it.
    pub(crate) fn begin(&mut self) {
        self.busy = self.queue.pop_front();
    }

    /// Batches in the group that the disk is at.
    pub(crate) fn group_size(&self) -> u64 {
        match &self.busy {
            Some(Item::Group(first, last, _)) => last.0 - first.0 + 1,
            _ => 0,
        }
    }

    /// The disk is done with it, or finds the time to look after itself.
    pub(crate) fn work(&mut self) {
        match self.busy.take() {
            Some(Item::Group(first, last, changes)) => {
                self.writer.group(first, last, &changes);
            }
            Some(Item::Restart(need, contents)) => self.writer.restart(need, Box::new(contents)),
            None => {}
        }
        self.writer.work(self.queue.is_empty());
    }

    /// The driver hears what came of it.
    pub(crate) fn hear(&mut self, now: Timestamp) {
        let reports: Vec<Report> = self.writer.reports().collect();
        for report in reports {
            match report {
                Report::Committed(seq) => {
                    self.parked.committed(seq);
                    self.heard.push(Ok(seq));
                    self.engine.handle(now, Input::Committed(seq), &mut self.fx);
                }
                Report::Failed(seq, need, _) => {
                    self.failed += 1;
                    self.heard.push(Err(seq));
                    self.store_ok = false;
                    self.take_back(now, seq);
                    self.restart_store(need);
                }
                Report::Stalled(need, _) => self.restart_store(need),
                Report::StillBroken(_) => {}
                Report::Ready => {
                    self.store_ok = true;
                    self.engine.handle(now, Input::StoreReady, &mut self.fx);
                }
            }
            self.flush(now);
        }
    }

    fn take_back(&mut self, now: Timestamp, seq: Seq) {
        self.parked.failed(seq);
        self.decided.truncate(self.parked.len());
        self.engine.handle(now, Input::CommitFailed(seq), &mut self.fx);
    }

    fn restart_store(&mut self, need: Need) {
        let mut contents = Contents::default();
        if need.contents {
            contents.leases = self.engine.leases().iter().cloned().collect();
            contents.seq = self.parked.newest();
            contents.meta = self.engine.facts().chain(self.meta.clone()).collect();
        }
        self.queue.push_back(Item::Restart(need, contents));
    }

    /// When the disk wants to be looked after, from now.
    pub(crate) fn patience(&self) -> u64 {
        self.writer.patience().as_millis() as u64
    }

    pub(crate) fn store_ok(&self) -> bool {
        self.store_ok
    }

    /// Promises that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.parked.len()
    }
}
