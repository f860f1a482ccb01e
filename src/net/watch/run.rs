//! The watcher's thread.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crate::base::LinkId;
use crate::watch::{Detector, Moment, Outcome, Place, Question, Sign, Timers, Watch, WatchId};

use super::super::link::{LinkEvent, LinkMonitor};
use super::super::poll::{Poller, Token, Waker};
use super::super::sys::{self, RecvBatch};
use super::super::timer::Timer;
use super::port::Ports;
use super::segment::{Family, Segments};
use super::{Command, Event, RefusedWatch, SegmentId, process};

const LINKS: u64 = 0;
const TIMER: u64 = 1;
/// The sockets of a segment: its index with a bit for the family below it.
pub(super) const SOCKETS: u64 = 1 << 40;
/// Processes, each by a number that is never given again.
const PROCESSES: u64 = 1 << 41;
/// How often interfaces are looked at while what is known of them may not be all.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// All that the thread has.
pub(super) struct Run<F> {
    commands: Receiver<Command>,
    sink: F,
    origin: Instant,
    pub(super) poller: Poller,
    timer: Timer,
    /// When it goes off, if it has not yet.
    armed: Option<Moment>,
    pub(super) monitor: LinkMonitor,
    pub(super) resyncs: u64,
    /// Interfaces could not be read.
    pub(super) is_deaf: bool,
    pub(super) look_again_until: Option<Moment>,
    pub(super) events: Vec<LinkEvent>,
    ports: Ports,
    pub(super) names: HashMap<Arc<str>, LinkId>,
    pub(super) watches: Vec<Option<Watched>>,
    /// Places of `watches` that nobody has.
    free: Vec<usize>,
    by_id: HashMap<WatchId, usize>,
    /// Watches behind an interface, and those whose interface is gone.
    pub(super) behind: HashMap<LinkId, Vec<usize>>,
    pub(super) absent: HashMap<Arc<str>, Vec<usize>>,
    processes: HashMap<u64, usize>,
    processes_ever: u64,
    pub(super) segments: Segments,
    timers: Timers,
    outcome: Outcome,
    batch: RecvBatch,
    heard: Vec<(usize, crate::base::Mac)>,
    missed: Vec<usize>,
}

pub(super) struct Watched {
    pub(super) watch: Watch,
    detector: Detector,
    pub(super) port: Option<LinkId>,
    pub(super) segment: Option<SegmentId>,
    /// Its number and its descriptor, until it ends.
    process: Option<(u64, OwnedFd)>,
}

impl<F: FnMut(Event)> Run<F> {
    pub(super) fn new(commands: Receiver<Command>, origin: Instant, sink: F) -> io::Result<Run<F>> {
        let (poller, timer) = (Poller::new()?, Timer::new()?);
        let monitor = LinkMonitor::open_without_fdb()?;
        poller.add(&monitor, Token(LINKS))?;
        poller.add(&timer, Token(TIMER))?;
        Ok(Run {
            commands,
            sink,
            origin,
            poller,
            timer,
            armed: None,
            monitor,
            resyncs: 0,
            is_deaf: false,
            look_again_until: None,
            events: Vec::new(),
            ports: Ports::open()?,
            names: HashMap::new(),
            watches: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            behind: HashMap::new(),
            absent: HashMap::new(),
            processes: HashMap::new(),
            processes_ever: 0,
            segments: Segments::default(),
            timers: Timers::default(),
            outcome: Outcome::default(),
            batch: RecvBatch::default(),
            heard: Vec::new(),
            missed: Vec::new(),
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// Runs until it is stopped.
    pub(super) fn run(mut self) {
        let mut ready = Vec::new();
        self.look_at_links();
        loop {
            ready.clear();
            let waited = self.poller.wait(None);
            if let Err(e) = waited.map(|tokens| ready.extend(tokens.map(|token| token.0))) {
                self.trouble("cannot wait", &e);
            }
            // First what is a failure by itself.
            for number in ready.iter().filter(|token| **token >= PROCESSES) {
                self.process_ended(*number);
            }
            for token in &ready {
                match *token {
                    LINKS => self.look_at_links(),
                    TIMER => self.armed = None,
                    SOCKETS..PROCESSES => self.read_socket(*token),
                    _ => {}
                }
            }
            // More may be ready than was told: an answer that waits is none that is missing.
            if ready.len() + 1 >= sys::BATCH {
                self.read_all_sockets();
            }
            if !self.obey() {
                return;
            }
            self.wake();
            self.send();
            self.arm();
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(self.origin.elapsed().as_nanos().try_into().unwrap_or(u64::MAX))
    }

    pub(super) fn trouble(&mut self, what: &str, error: &io::Error) {
        (self.sink)(Event::Trouble(format!("{what}: {error}")));
    }

    /// Does what was asked for; whether to go on.
    fn obey(&mut self) -> bool {
        loop {
            let now = self.now();
            match self.commands.try_recv() {
                Ok(Command::Watch(watch)) => self.watch(*watch),
                Ok(Command::Unwatch(id)) => self.unwatch(id),
                Ok(Command::Pause(id, most)) => {
                    let nanos = most.as_nanos().try_into().unwrap_or(u64::MAX);
                    if let Some(slot) = self.by_id.get(&id).copied() {
                        self.with(slot, |detector, _| detector.pause(now, now + nanos));
                    }
                }
                Ok(Command::Resume(id)) => {
                    if let Some(slot) = self.by_id.get(&id).copied() {
                        self.with(slot, |detector, out| detector.resume(now, out));
                    }
                }
                Ok(Command::Heartbeat(id)) => self.sign_of(id, Sign::AgentHeartbeat),
                Ok(Command::Report(id, by, health)) => {
                    self.sign_of(id, Sign::Report { by, health });
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn sign_of(&mut self, id: WatchId, sign: Sign) {
        if let Some(slot) = self.by_id.get(&id).copied() {
            self.sign(slot, sign);
        }
    }

    pub(super) fn sign(&mut self, slot: usize, sign: Sign) {
        let now = self.now();
        self.with(slot, |detector, out| detector.handle(now, sign, out));
    }

    /// Has a detector think, and does what comes of it.
    fn with(&mut self, slot: usize, think: impl FnOnce(&mut Detector, &mut Outcome)) {
        let Some(Some(watched)) = self.watches.get_mut(slot) else { return };
        let mut outcome = std::mem::take(&mut self.outcome);
        outcome.clear();
        think(&mut watched.detector, &mut outcome);
        let mut next = 0;
        while let Some(question) = outcome.questions.get(next).copied() {
            next += 1;
            let sign = match question {
                Question::Probe => self.probe(slot),
                Question::Counters => Some(self.counters(slot)),
            };
            let now = self.now();
            if let (Some(sign), Some(Some(watched))) = (sign, self.watches.get_mut(slot)) {
                watched.detector.handle(now, sign, &mut outcome);
            }
        }
        if let Some(Some(watched)) = self.watches.get(slot) {
            let id = watched.watch.id;
            self.timers.set(slot, watched.detector.next_wakeup());
            for verdict in outcome.verdicts.drain(..) {
                (self.sink)(Event::Verdict { id, verdict, at: Instant::now() });
            }
        }
        self.outcome = outcome;
    }

    /// Puts a round of probes where it is sent from; what is to be said if that cannot be.
    fn probe(&mut self, slot: usize) -> Option<Sign> {
        let watched = self.watches.get(slot)?.as_ref()?;
        let link = watched.segment.and_then(|id| self.monitor.link(id));
        let Some(link) = link else { return Some(Sign::NotAsked) };
        let mut asked = true;
        for addr in &watched.watch.addrs {
            asked &= self.segments.ask(link, slot, watched.watch.mac, *addr);
        }
        (!asked).then_some(Sign::NotAsked)
    }

    /// The port as it is now: its link may be lost though nobody said so yet.
    fn counters(&mut self, slot: usize) -> Sign {
        let watched = self.watches.get(slot).and_then(Option::as_ref);
        let port = watched.filter(|w| matches!(w.watch.place, Place::Port(_))).and_then(|w| w.port);
        let Some(port) = port else { return Sign::NoCounters };
        match self.ports.state(port) {
            Ok(Some(state)) if state.has_carrier => {
                Sign::PortCounters { rx: state.rx, tx: state.tx }
            }
            Ok(Some(_)) => Sign::LinkDown,
            // Netlink will tell that it is gone, or that it is no longer ours to look at.
            Ok(None) | Err(_) => Sign::NoCounters,
        }
    }

    /// Wakes all whose time has come.
    fn wake(&mut self) {
        let until = self.now();
        while let Some(slot) = self.timers.pop(until) {
            self.sign(slot, Sign::Time);
        }
    }

    fn send(&mut self) {
        let mut missed = std::mem::take(&mut self.missed);
        self.segments.flush(&mut missed);
        for slot in missed.drain(..) {
            self.sign(slot, Sign::NotAsked);
        }
        self.missed = missed;
    }

    /// Sets the timer to what is due next.
    fn arm(&mut self) {
        let now = self.now();
        let mut next = self.timers.next_due();
        if self.look_again_until.is_some_and(|until| until <= now) {
            self.look_again_until = None;
        }
        if self.look_again_until.is_some() {
            self.look_at_links();
            let again = now + LOOK_AGAIN.as_nanos() as u64;
            next = Some(next.map_or(again, |next| next.min(again)));
        }
        if next.is_none() || next != self.armed {
            let after = next.map(|next| Duration::from_nanos(next.nanos_since(now)));
            self.armed = next;
            if let Err(e) = self.timer.set(after) {
                self.trouble("cannot set a timer", &e);
            }
        }
    }

    fn read_socket(&mut self, token: u64) {
        let family = if token & 1 == 0 { Family::Arp } else { Family::Nd };
        self.read(LinkId((token >> 1) as u32), family);
    }

    fn read_all_sockets(&mut self) {
        let ids: Vec<SegmentId> = self.segments.ids().collect();
        for id in ids {
            self.read(id, Family::Arp);
            self.read(id, Family::Nd);
        }
    }

    fn read(&mut self, id: SegmentId, family: Family) {
        let mut heard = std::mem::take(&mut self.heard);
        let each = |slot, by| heard.push((slot, by));
        // Its interface went down (ENETDOWN), which netlink tells of.
        let _ = self.segments.read(id, family, &mut self.batch, each);
        for (slot, by) in heard.drain(..) {
            self.sign(slot, Sign::ProbeAnswered { by });
        }
        self.heard = heard;
    }

    fn process_ended(&mut self, number: u64) {
        // Closing the descriptor ends its being ready.
        let Some(slot) = self.processes.remove(&number) else { return };
        if let Some(Some(watched)) = self.watches.get_mut(slot) {
            watched.process = None;
        }
        self.sign(slot, Sign::ProcessEnded);
    }

    fn watch(&mut self, watch: Watch) {
        self.unwatch(watch.id);
        let id = watch.id;
        match self.begin(watch) {
            Ok(()) => (self.sink)(Event::Watching(id)),
            Err(why) => {
                self.unwatch(id);
                (self.sink)(Event::Refused { id, why });
            }
        }
    }

    fn begin(&mut self, watch: Watch) -> Result<(), RefusedWatch> {
        if watch.addrs.len() > crate::watch::ADDRS_MAX {
            return Err(RefusedWatch::Addrs(watch.addrs.len()));
        }
        self.look_at_links();
        let name = Arc::clone(watch.place.link());
        let known = self.names.get(&name).and_then(|id| self.monitor.link(*id));
        let Some(link) = known else { return Err(RefusedWatch::NoPort(name)) };
        let (port, is_ethernet) = (link.id, link.is_ethernet);
        if !is_ethernet {
            return Err(RefusedWatch::NoEthernet(name));
        }
        let io = |e: io::Error| RefusedWatch::Io(e.to_string());
        if !self.ports.state(port).map_err(io)?.is_some_and(|state| state.has_carrier) {
            return Err(RefusedWatch::NoLink(name));
        }
        let process = match &watch.process {
            None => None,
            Some(process) => {
                let fd = process::open(process)?;
                self.processes_ever += 1;
                let number = PROCESSES + self.processes_ever;
                self.poller.add(&fd, Token(number)).map_err(io)?;
                Some((number, fd))
            }
        };
        let slot = self.free.pop().unwrap_or(self.watches.len());
        self.processes.extend(process.as_ref().map(|(number, _)| (*number, slot)));
        let detector = Detector::new(&watch, self.now());
        self.timers.set(slot, detector.next_wakeup());
        self.by_id.insert(watch.id, slot);
        let watched = Watched { watch, detector, port: Some(port), segment: None, process };
        match self.watches.get_mut(slot) {
            Some(free) => *free = Some(watched),
            None => self.watches.push(Some(watched)),
        }
        self.behind.entry(port).or_default().push(slot);
        self.join(slot).map_err(io)
    }

    fn unwatch(&mut self, id: WatchId) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        let Some(watched) = self.watches.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        self.timers.set(slot, None);
        if let Some(segment) = watched.segment {
            self.segments.remove(segment, slot, &watched.watch.addrs);
        }
        if let Some((number, _)) = watched.process {
            self.processes.remove(&number);
        }
        let others = match watched.port {
            Some(port) => self.behind.get_mut(&port),
            None => self.absent.get_mut(watched.watch.place.link()),
        };
        if let Some(others) = others {
            others.retain(|other| *other != slot);
        }
    }
}
