//! The thread of the data plane: receive a batch, decide, commit, send.
//!
//! One turn: wait; hear the committer; run what the control plane asked; follow the interfaces;
//! read one batch from each socket that has packets; let time pass. After each batch the engine's
//! effects are carried out together ([`Driver::flush`]): changes go to the committer, replies
//! that promise nothing leave at once, those that promise an address wait in [`Parked`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::{LinkId, Span, Timestamp};
use crate::config::Policy;
use crate::engine::Input;
use crate::engine::effects::Effects;
use crate::lease::Seq;
use crate::net::udp::overruns_of_host;
use crate::net::udp6::overruns6_of_host;
use crate::net::{FrameSocket, Mode, Poller, RecvBatch, Token, Waker};
use crate::store::{Contents, Store, StoreStats};

use super::clock::{self, Clock};
use super::committer::{Committer, Need, Report};
use super::counters::{Counters, Replies};
use super::lag::Lag;
use super::links::Links;
use super::machine::Machine;
use super::outgoing::Outgoing;
use super::parked::{Confirm, Held, Parked};
use super::police::Police;
use super::served::{self, Kind};
use super::telling::{Telling, Told};
use super::work::{Bench, Job, Jobs};

/// Jobs of the control plane that may wait.
const JOBS_MAX: usize = 256;
/// Jobs per turn, and for how long another one is begun: packets do not wait for more.
const JOBS_PER_TURN: usize = 16;
const JOBS_BEGIN: Duration = Duration::from_micros(50);
/// How often figures are gathered and failed sockets tried again.
const HOUSEKEEPING: Span = Span::from_secs(1);
/// How often the time is stored.
const SAVE_CLOCK: Span = Span::from_secs(600);
/// All that a driver starts with.
pub struct Setup<M> {
    /// The engine.
    pub machine: M,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Serve or observe.
    pub mode: Mode,
    /// Where bindings become durable; `None` for an observer, which writes nothing.
    pub store: Option<Box<dyn Store>>,
    /// The server's own facts, as the store held them.
    pub meta: BTreeMap<Box<str>, Box<[u8]>>,
    /// The last batch in the store.
    pub last: Seq,
    /// The time.
    pub clock: Clock,
    /// Who hears what happened. Never waited for: what does not fit is counted and lost.
    pub events: SyncSender<Told>,
}

/// The loop and all it owns.
pub struct Driver<M: Machine> {
    pub(super) machine: M,
    pub(super) fx: Effects,
    pub(super) mode: Mode,
    poller: Poller,
    pub(super) ready: Vec<Token>,
    pub(super) batch: RecvBatch,
    pub(super) links: Links,
    pub(super) police: Police,
    /// Links of which this turn may have left unread what neighbours said.
    pub(super) behind: Vec<LinkId>,
    outgoing: Outgoing,
    /// Ends before the driver does.
    pub(super) committer: Option<Committer>,
    /// Without a store: what is decided holds at once, and nobody is told.
    is_volatile: bool,
    parked: Parked,
    /// Used by [`Driver::send_due`] alone.
    due: Vec<Held>,
    meta: BTreeMap<Box<str>, Box<[u8]>>,
    /// Why the store cannot write.
    store_trouble: Option<String>,
    store_ok: bool,
    lag: Lag,
    pub(super) clock: Clock,
    clock_trusted: bool,
    jobs: Receiver<Job<M>>,
    telling: Telling,
    /// When the batch under way was received.
    pub(super) began: Instant,
    pub(super) counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    housekeeping_at: Timestamp,
    save_clock_at: Timestamp,
    udp_overruns: Option<u64>,
}

/// A running driver.
pub struct DriverHandle<M> {
    jobs: Jobs<M>,
    waker: Waker,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: JoinHandle<io::Result<()>>,
}

impl<M: Machine> Driver<M> {
    /// Opens all sockets of the interfaces that are there and starts the thread.
    pub fn start(setup: Setup<M>) -> io::Result<DriverHandle<M>> {
        let poller = Poller::new()?;
        let (waker, counters) = (poller.waker(), Arc::new(Counters::default()));
        let (sender, jobs) = mpsc::sync_channel(JOBS_MAX);
        let is_volatile = setup.store.is_none();
        let committer = setup
            .store
            .map(|store| Committer::start(store, waker.clone(), Arc::clone(&counters)))
            .transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut driver = Driver {
            machine: setup.machine,
            fx: Effects::default(),
            mode: setup.mode,
            links: Links::open(setup.policy, setup.mode, &poller)?,
            poller,
            ready: Vec::new(),
            batch: RecvBatch::default(),
            police: Police::default(),
            behind: Vec::new(),
            outgoing: Outgoing::open(setup.mode)?,
            committer,
            is_volatile,
            parked: Parked::new(setup.last),
            due: Vec::new(),
            meta: setup.meta,
            store_trouble: None,
            store_ok: true,
            lag: Lag::default(),
            clock: setup.clock,
            clock_trusted: true,
            jobs,
            telling: Telling::new(setup.events, Arc::clone(&counters), setup.mode == Mode::Observe),
            began: Clock::mark(),
            counters: Arc::clone(&counters),
            stop: Arc::clone(&stop),
            housekeeping_at: Timestamp(0),
            save_clock_at: Timestamp(0),
            udp_overruns: None,
        };
        driver.check_clock();
        driver.update_links();
        driver.flush(None);
        let thread =
            std::thread::Builder::new().name("driver".into()).spawn(move || driver.run())?;
        Ok(DriverHandle { jobs: Jobs::new(sender, waker.clone()), waker, stop, counters, thread })
    }

    fn run(mut self) -> io::Result<()> {
        // Part of the first batch: no lease by a slow clock is durable without a word of that.
        self.save_clock();
        while !self.stop.load(Ordering::Acquire) {
            self.turn()?;
        }
        self.save_clock();
        self.machine.handle(self.clock.now(), Input::Stopping, &mut self.fx);
        self.flush(None);
        if let Some(committer) = self.committer.take() {
            committer.stop().into_iter().for_each(|report| self.hear(report));
        }
        self.telling.tell();
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        // What becomes due by this turn's packets is for the next turn, which will not wait then.
        let due = self.machine.next_wakeup().unwrap_or(Timestamp::NEVER);
        let timeout = self.timeout(due);
        self.ready.clear();
        let ready = self.poller.wait(Some(timeout))?;
        self.ready.extend(ready);
        while let Some(report) = self.committer.as_ref().and_then(|c| c.reports().next()) {
            self.hear(report);
        }
        if self.ready.contains(&served::token(LinkId(0), Kind::Netlink)) || self.links.is_behind() {
            self.update_links();
        }
        self.read_packets();
        self.run_jobs();
        let now = self.clock.now();
        self.began = Clock::mark();
        if due <= now {
            self.check_hearing(now);
            self.machine.handle(now, Input::Tick, &mut self.fx);
            self.flush(None);
        }
        if self.telling.due().is_some_and(|at| at <= now) {
            self.telling.tell();
        }
        if self.housekeeping_at <= now {
            self.housekeep(now)?;
        }
        Ok(())
    }

    fn timeout(&self, due: Timestamp) -> Span {
        let told = self.telling.due().unwrap_or(Timestamp::NEVER);
        due.min(told).min(self.housekeeping_at).since(self.clock.now())
    }

    fn update_links(&mut self) {
        let now = self.clock.now();
        let (machine, fx) = (&mut self.machine, &mut self.fx);
        let tell = |input: Input<'static>| machine.handle(now, input, fx);
        self.links.update(&self.poller, &self.counters, tell);
        self.flush(None);
    }

    /// Closes the batch and carries out its effects. `confirm` is told when it is durable.
    pub(super) fn flush(&mut self, confirm: Option<Confirm>) {
        let mut replies = Replies::default();
        for reply in self.fx.send_now.drain(..) {
            self.outgoing.reply(&reply, &self.fx.bytes, &mut self.links, &self.counters);
            replies.add(reply.kind);
        }
        for probe in self.fx.probes.drain(..) {
            self.outgoing.probe(&probe, &mut self.links, &self.counters);
        }
        let seq = self.machine.end_batch();
        // First of all the disk: it takes longest.
        if let (Some(seq), Some(committer), true) = (seq, &self.committer, self.store_ok) {
            committer.commit(seq, &mut self.fx.changes);
        }
        self.parked.park(seq, &mut self.fx, self.began, confirm);
        if let Some(seq) = seq {
            if self.is_volatile {
                self.committed(seq);
            } else if self.committer.is_none() || !self.store_ok {
                self.take_back(seq);
            }
        }
        self.fx.changes.clear();
        for (asked, outcome) in self.fx.outcomes.drain(..) {
            self.counters.packet(asked, outcome);
        }
        self.send_due();
        let took = self.began.elapsed();
        self.counters.replied(&replies, took);
        self.telling.note(self.clock.now(), &mut self.fx.events, took);
        self.fx.bytes.clear();
    }

    /// Sends what was collected and what may go now, then says what happened.
    fn send_due(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        while let Some(held) = self.parked.next_due() {
            for reply in &held.replies {
                self.outgoing.reply(reply, &held.bytes, &mut self.links, &self.counters);
            }
            due.push(held);
        }
        self.outgoing.send(&mut self.links, &self.counters);
        for mut held in due.drain(..) {
            held.confirm();
            let took = held.began.unwrap_or(self.began).elapsed();
            let mut replies = Replies::default();
            held.replies.iter().for_each(|reply| replies.add(reply.kind));
            self.counters.replied(&replies, took);
            self.telling.note(self.clock.now(), &mut held.events, took);
            self.parked.recycle(held);
        }
        self.due = due;
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Committed(seq) => self.committed(seq),
            Report::Failed(seq, need, e) => {
                tracing::error!(error = %e, "commit failed; its leases are taken back");
                self.counters.commits_failed.add(1);
                self.store_ok = false;
                self.store_trouble = Some(e.to_string());
                self.take_back(seq);
                self.restart_store(need);
            }
            Report::Stalled(need, e) => {
                tracing::error!(error = %e, "checkpoint failed; writing the store anew");
                self.store_trouble = Some(e.to_string());
                self.restart_store(need);
            }
            Report::StillBroken(e) => {
                tracing::error!(error = %e, "the store cannot be written anew; trying again");
                self.store_trouble = Some(e.to_string());
            }
            Report::Ready => {
                tracing::info!("the store can write again");
                (self.store_ok, self.store_trouble) = (true, None);
                self.machine.handle(self.clock.now(), Input::StoreReady, &mut self.fx);
            }
        }
        self.flush(None);
    }

    fn committed(&mut self, seq: Seq) {
        self.parked.committed(seq);
        self.machine.handle(self.clock.now(), Input::Committed(seq), &mut self.fx);
    }

    fn take_back(&mut self, seq: Seq) {
        let lost = self.parked.failed(seq);
        self.counters.replies_lost.add(lost as u64);
        self.machine.handle(self.clock.now(), Input::CommitFailed(seq), &mut self.fx);
    }

    fn restart_store(&self, need: Need) {
        let contents = match need.contents {
            true => Contents {
                leases: self.machine.leases(),
                meta: self.machine.facts().into_iter().chain(self.meta.clone()).collect(),
                seq: self.parked.newest(),
            },
            false => Contents::default(),
        };
        if let Some(committer) = &self.committer {
            committer.restart(need, contents);
        }
    }

    fn run_jobs(&mut self) {
        let begun = Clock::mark();
        for _ in 0..JOBS_PER_TURN {
            let Ok(job) = self.jobs.try_recv() else { return };
            self.began = Clock::mark();
            let (store, store_lag) = (self.store_stats(), self.store_lag());
            let mut bench = Bench {
                machine: &mut self.machine,
                now: self.clock.now(),
                fx: &mut self.fx,
                links: &self.links,
                counters: &self.counters,
                mode: self.mode,
                clock_trusted: self.clock_trusted,
                store,
                store_lag,
                store_trouble: self.store_trouble.as_deref(),
                facts: Vec::new(),
                policy: None,
                backups: Vec::new(),
            };
            let confirm = job(&mut bench);
            let (policy, backups) = (bench.policy, bench.backups);
            for (name, value) in bench.facts {
                // What a failed commit takes back is written at a rebuild all the same; its
                // caller heard that it failed, and asks again.
                match value {
                    Some(value) => drop(self.meta.insert(name, value)),
                    None => drop(self.meta.remove(&name)),
                }
            }
            self.flush(confirm);
            if let Some(policy) = policy {
                self.set_policy(policy);
            }
            for (to, done) in backups {
                match &self.committer {
                    Some(committer) => committer.backup(to, done),
                    None => done(Err(crate::store::StoreError::Broken)),
                }
            }
            if begun.elapsed() > JOBS_BEGIN {
                break;
            }
        }
        // There may be more: look again without waiting.
        self.poller.waker().wake();
    }

    fn store_stats(&self) -> StoreStats {
        self.committer.as_ref().map_or_else(StoreStats::default, Committer::stats)
    }

    /// How long the last sync took, or a promise has been waiting for the one under way.
    fn store_lag(&self) -> Duration {
        Duration::from_micros(self.store_stats().last_sync_us).max(self.parked.waited())
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        let now = self.clock.now();
        self.machine.set_policy(Arc::clone(&policy));
        let (machine, fx) = (&mut self.machine, &mut self.fx);
        let tell = |input: Input<'static>| machine.handle(now, input, fx);
        self.links.set_policy(policy, &self.poller, tell);
        self.flush(None);
    }

    fn housekeep(&mut self, now: Timestamp) -> io::Result<()> {
        self.housekeeping_at = now + HOUSEKEEPING;
        for served in self.links.served() {
            self.counters.overruns_dhcp.add(overruns(&served.dhcp));
        }
        self.check_hearing(now);
        if let (Ok(v4), Ok(v6)) = (overruns_of_host(), overruns6_of_host()) {
            let total = v4.saturating_add(v6);
            let before = self.udp_overruns.replace(total).unwrap_or(total);
            self.counters.overruns_udp.add(total.saturating_sub(before));
        }
        self.lag.look(self.store_lag(), &self.counters);
        self.report_offences(now);
        self.links.retry(&self.poller);
        self.update_links();
        self.outgoing.report_groups(now, &mut self.links);
        self.check_clock();
        if self.save_clock_at <= now {
            self.save_clock_at = now + SAVE_CLOCK;
            self.save_clock();
        }
        self.flush(None);
        if self.committer.as_ref().is_some_and(Committer::is_dead) {
            return Err(io::Error::other("the thread that writes the store has ended"));
        }
        Ok(())
    }

    /// Tells the engine where answers of neighbours were lost or are not read yet, before it takes
    /// anybody for silent.
    fn check_hearing(&mut self, now: Timestamp) {
        for served in self.links.served() {
            let (arp, nd) = (overruns(&served.arp), overruns(&served.nd));
            self.counters.overruns_arp.add(arp);
            self.counters.overruns_nd.add(nd);
            if arp + nd > 0 || self.behind.contains(&served.link) {
                self.machine.handle(now, Input::Deaf(served.link), &mut self.fx);
            }
        }
    }

    fn check_clock(&mut self) {
        let trusted = self.clock.is_trusted();
        if trusted != self.clock_trusted {
            self.clock_trusted = trusted;
            let why = if trusted {
                "time is known to be right"
            } else {
                "time may be wrong: nothing expires yet"
            };
            tracing::info!("{why}");
            self.machine.handle(self.clock.now(), Input::ClockTrusted(trusted), &mut self.fx);
        }
    }

    fn save_clock(&mut self) {
        if self.store_ok && self.committer.is_some() {
            let value = self.clock.save();
            self.machine.note(clock::META, &value, &mut self.fx);
            self.meta.insert(clock::META.into(), value);
        }
    }
}

impl<M> DriverHandle<M> {
    /// A way to the engine, for any number of threads.
    pub fn jobs(&self) -> Jobs<M> {
        self.jobs.clone()
    }

    /// What is counted.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whether the thread still runs; it ends by itself only by an error.
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends the thread after everything that was accepted is durable and answered.
    pub fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the driver panicked")))
    }
}

/// Frames that a socket lost since this was last asked.
fn overruns(socket: &Option<FrameSocket>) -> u64 {
    socket.as_ref().and_then(|s| s.take_overruns().ok()).unwrap_or(0)
}
