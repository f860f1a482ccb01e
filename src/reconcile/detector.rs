//! The machine: sightings and time in, questions and findings out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};

use smallvec::SmallVec;

use crate::base::{LinkId, Mac, Span, Timestamp};

use super::aging::Aging;
use super::case::{Case, Step};
use super::finding::{Evidence, Finding, Kind};
use super::known::{Bound, Known, Pair};
use super::seen::{Ask, By, Heard, Server, Sighting};
use super::speakers::{Speakers, Verdict};
use super::sweep::{Budget, Walk};

mod nearby;
mod report;
mod rounds;

/// Addresses whose holders are remembered, in each of two generations: a /16 fits into one.
const ADDRS_HALF: usize = 65_536;
/// Hosts that are remembered of one address.
const HOLDERS_MAX: usize = 6;
/// Addresses that are asked about at one time.
const CASES_MAX: usize = 512;
/// Findings about addresses.
const FINDINGS_MAX: usize = 4096;
/// Findings about servers, and about proxies.
const OTHERS_MAX: usize = 256;
/// Questions to one host that wait for their turn.
const QUESTIONS_MAX: usize = 4096;
/// How long an address is left alone after a case that led to nothing.
const CASE_REST: Span = Span(2_000);
/// How long after its last question a sweep is over.
const SETTLE: Span = Span(1_000);
/// Sweeps in which a server or proxy must not be seen for it to be gone.
const SWEEPS_GONE: u8 = 3;

/// How a network is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Questions a second, at most.
    pub rate: u32,
    /// From the beginning of one sweep to that of the next.
    pub interval: Span,
    /// Ask all of each IPv4 subnet up to a /12, not only its pools and what is bound.
    pub whole_subnets: bool,
    /// How many of the lowest addresses of each IPv6 prefix are asked.
    pub low6: u32,
    /// Look for servers and routers by asking them, not by listening alone.
    pub probe_servers: bool,
    /// After so many sweeps without a word from it a leased address is silent; 0: never.
    pub silent_sweeps: u32,
    /// What the order of the sweep and our transaction ids come from.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rate: 500,
            interval: Span::from_secs(60),
            whole_subnets: true,
            low6: 255,
            probe_servers: true,
            silent_sweeps: 3,
            seed: 0,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Questions, in order.
    pub asks: Vec<Ask>,
    /// Findings that are new, or concern others than before.
    pub found: Vec<Finding>,
    /// Findings that are gone.
    pub cleared: Vec<Finding>,
    /// A sweep begins: all that is known is to be handed in again ([`Detector::learn`]).
    pub refresh: bool,
    /// Findings wait for what is known of their addresses by now ([`Detector::undecided`]).
    pub look: bool,
}

/// What happened, counted from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions asked.
    pub asked: u64,
    /// Claims heard for addresses of the link.
    pub claims: u64,
    /// Sweeps done.
    pub sweeps: u64,
    /// Addresses that were asked about again.
    pub cases: u64,
    /// Cases, questions and findings that found no room.
    pub lost: u64,
}

/// Who was heard to hold an address.
#[derive(Clone, Copy, Debug)]
struct Holder {
    mac: Mac,
    eth_src: Mac,
    port: Option<LinkId>,
    by: By,
    times: u32,
    first: Timestamp,
    last: Timestamp,
}

impl Holder {
    fn evidence(&self) -> Evidence {
        Evidence {
            mac: self.mac,
            eth_src: (self.eth_src != self.mac).then_some(self.eth_src),
            port: self.port,
            by: self.by,
            times: self.times,
            first: self.first,
            last: self.last,
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    holders: SmallVec<[Holder; 1]>,
    /// No case is opened before.
    quiet_until: Timestamp,
}

/// A finding about a host, and in how many sweeps it was not seen.
#[derive(Debug)]
struct Watched {
    finding: Finding,
    missed: u8,
}

/// A walk that goes on.
#[derive(Debug)]
struct Sweep {
    started: Timestamp,
    walk: Walk,
    /// When it is over, once its last question was asked.
    settles: Option<Timestamp>,
}

/// Watches one network.
#[derive(Debug)]
pub struct Detector {
    settings: Settings,
    known: Known,
    addrs: Aging<IpAddr, Entry>,
    speakers: Speakers,
    cases: BTreeMap<IpAddr, Case>,
    /// The case that was served last.
    served: Option<IpAddr>,
    /// Cases that are over and wait for what is known by now.
    decided: BTreeMap<IpAddr, (Timestamp, Vec<Mac>)>,
    /// Findings that are to be looked at again.
    rechecks: VecDeque<IpAddr>,
    questions: VecDeque<Ask>,
    budget: Budget,
    /// Whose turn it is to ask.
    turn: u8,
    sweep: Option<Sweep>,
    next_sweep: Timestamp,
    last_sweep: Timestamp,
    last_end: Timestamp,
    /// In how many sweeps in a row a leased address was silent.
    silent: BTreeMap<IpAddr, u32>,
    findings: BTreeMap<IpAddr, Finding>,
    servers: BTreeMap<(Server, Mac), Watched>,
    proxies: BTreeMap<Mac, Watched>,
    counts: Counts,
    random: u64,
}

impl Detector {
    /// Watches from `now` on, beginning with a sweep.
    pub fn new(settings: Settings, known: Known, now: Timestamp) -> Detector {
        Detector {
            budget: Budget::new(settings.rate, now),
            random: settings.seed | 1,
            settings,
            known,
            addrs: Aging::new(ADDRS_HALF),
            speakers: Speakers::new(),
            cases: BTreeMap::new(),
            served: None,
            decided: BTreeMap::new(),
            rechecks: VecDeque::new(),
            questions: VecDeque::new(),
            turn: 0,
            sweep: None,
            next_sweep: now,
            last_sweep: Timestamp(0),
            last_end: Timestamp(0),
            silent: BTreeMap::new(),
            findings: BTreeMap::new(),
            servers: BTreeMap::new(),
            proxies: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Addresses that findings would be about, if what is known of them is still so.
    pub fn undecided(&self) -> impl Iterator<Item = IpAddr> {
        self.decided.keys().copied()
    }

    /// Takes in to whom these addresses belong by now.
    pub fn learn_of(
        &mut self,
        belongs: impl IntoIterator<Item = (IpAddr, Option<Bound>, Option<Pair>)>,
        now: Timestamp,
        out: &mut Outcome,
    ) {
        for (addr, bound, pair) in belongs {
            match bound {
                Some(bound) => drop(self.known.bound.insert(addr, bound)),
                None => drop(self.known.bound.remove(&addr)),
            }
            match pair {
                Some(pair) => drop(self.known.pairs.insert(addr, pair)),
                None => drop(self.known.pairs.remove(&addr)),
            }
            if let Some((since, held)) = self.decided.remove(&addr) {
                self.conclude(addr, since, &held, now, out);
            }
        }
    }

    /// Takes in all that is known by now.
    pub fn learn(&mut self, known: Known, now: Timestamp, out: &mut Outcome) {
        self.known = known;
        let decided = std::mem::take(&mut self.decided);
        for (addr, (since, held)) in decided {
            self.conclude(addr, since, &held, now, out);
        }
        // A server that is allowed by now, an address that is bound by now.
        let is_gone = |known: &Known, server, watched: &Watched| {
            let Finding { addr, macs, .. } = &watched.finding;
            macs.iter().all(|mac| known.judge_server(server, *addr, *mac).is_none())
        };
        let gone = self
            .servers
            .extract_if(.., |(server, _), watched| is_gone(&self.known, *server, watched));
        out.cleared.extend(gone.map(|(_, watched)| watched.finding));
    }

    /// Takes in what was heard.
    pub fn heard(&mut self, heard: Heard, now: Timestamp, out: &mut Outcome) {
        match heard {
            Heard::Claim(seen) => self.claimed(seen, now, out),
            Heard::Server(server, seen) => self.server_spoke(server, seen, now, out),
        }
    }

    /// Starts a sweep at the next call of [`Detector::poll`], or at the end of the one that goes on.
    pub fn sweep_now(&mut self, now: Timestamp) {
        self.next_sweep = now;
    }

    /// Does what is due: to be called when [`Detector::next_wakeup`] has come, and may be at any
    /// other time.
    pub fn poll(&mut self, now: Timestamp, out: &mut Outcome) {
        if self.sweep.as_ref().is_some_and(|s| s.settles.is_some_and(|at| at <= now)) {
            self.end_sweep(now, out);
        }
        if self.sweep.is_none() && self.next_sweep <= now {
            self.start_sweep(now, out);
        }
        self.open_rechecks(now);
        while self.ask_next(now, out) {}
    }

    /// One question. Cases and the sweep take turns, so that forged claims cannot end the sweep.
    fn ask_next(&mut self, now: Timestamp, out: &mut Outcome) -> bool {
        for _ in 0..3 {
            self.turn = (self.turn + 1) % 3;
            let asked = match self.turn {
                0 => self.ask_one(now, out),
                1 => self.step_one(now, out),
                _ => self.walk_one(now, out),
            };
            if asked {
                return true;
            }
            // Whose turn it was had nothing to ask, or nobody may ask any more: then it is its
            // turn again.
            if !self.budget.has(now) {
                self.turn = (self.turn + 2) % 3;
                return false;
            }
        }
        false
    }

    /// When there is something to do next, if nothing is heard.
    pub fn next_wakeup(&self) -> Timestamp {
        let walks = self.sweep.as_ref().is_some_and(|sweep| sweep.settles.is_none());
        let asks = walks || !self.questions.is_empty() || !self.rechecks.is_empty();
        let budget = asks.then(|| self.budget.next());
        let sweep = match &self.sweep {
            Some(sweep) => sweep.settles,
            None => Some(self.next_sweep),
        };
        let cases = self.cases.values().map(|case| case.due).min();
        // What is due already waits for the budget.
        let cases = cases.map(|due| due.max(self.budget.next()));
        [budget, sweep, cases].into_iter().flatten().min().unwrap_or(Timestamp::NEVER)
    }

    /// What is wrong now, addresses first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let servers = self.servers.values().chain(self.proxies.values());
        self.findings.values().chain(servers.map(|watched| &watched.finding))
    }

    /// Whether a sweep goes on.
    pub fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Sweeps that are done and left nothing in doubt: every case is decided that was open when
    /// they ended. Others may have been opened since.
    pub fn settled(&self) -> u64 {
        let open = self.cases.values().map(|case| case.since);
        let decided = self.decided.values().map(|(since, _)| *since);
        let in_doubt = open.chain(decided).any(|since| since <= self.last_end);
        self.counts.sweeps.saturating_sub(in_doubt.into())
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many addresses, MACs and cases are remembered.
    pub fn sizes(&self) -> [usize; 3] {
        [self.addrs.len(), self.speakers.len(), self.cases.len() + self.decided.len()]
    }

    fn claimed(&mut self, seen: Sighting, now: Timestamp, out: &mut Outcome) {
        let Sighting { addr, mac, by, .. } = seen;
        let is_host = !mac.is_group() && mac != Mac::ZERO && !self.known.is_own_mac(mac);
        if !is_host || !self.known.is_of_link(addr) {
            return;
        }
        let entry = self.addrs.touch(addr);
        if !by.is_claim() {
            return;
        }
        self.counts.claims += 1;
        entry.record(seen, now);
        self.is_heard_again(addr, now, out);
        if self.known.is_foreign(addr, mac) {
            let verdict = self.speakers.claim(mac, addr, by.is_answer(), &self.known, now);
            self.take_verdict(mac, verdict, seen, now, out);
        }
        match self.cases.get_mut(&addr) {
            Some(case) if by.is_answer() => case.answered(mac, now),
            Some(case) => case.add(mac),
            None => self.suspect(addr, now),
        }
    }

    /// Opens a case if who was heard to hold `addr` would be a finding that is not made yet.
    fn suspect(&mut self, addr: IpAddr, now: Timestamp) {
        let Some(entry) = self.addrs.get(&addr) else { return };
        let holders = self.heard_of(addr, entry);
        let Some((kind, macs)) = self.known.judge(addr, &holders) else { return };
        let is_found = |finding: &Finding| finding.kind == kind && finding.macs == macs;
        let rests = entry.quiet_until > now || self.decided.contains_key(&addr);
        if !rests && !self.findings.get(&addr).is_some_and(is_found) {
            self.open(addr, now);
        }
    }

    /// Who was heard to hold `addr`, without those who say so of every address.
    fn heard_of(&self, addr: IpAddr, entry: &Entry) -> SmallVec<[Mac; 4]> {
        let macs = entry.holders.iter().map(|holder| holder.mac);
        macs.filter(|mac| !self.is_ignored(addr, *mac)).collect()
    }

    fn is_ignored(&self, addr: IpAddr, mac: Mac) -> bool {
        self.speakers.is_proxy(mac) && self.known.is_foreign(addr, mac)
    }

    fn next_random(&mut self) -> u64 {
        // xorshift64: these numbers keep no secret.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Entry {
    fn record(&mut self, seen: Sighting, now: Timestamp) {
        let Sighting { mac, eth_src, port, by, .. } = seen;
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.mac == mac) {
            let port = port.or(holder.port);
            let times = holder.times.saturating_add(1);
            *holder = Holder { mac, eth_src, port, by, times, last: now, ..*holder };
            return;
        }
        if self.holders.len() >= HOLDERS_MAX {
            let oldest = self.holders.iter().enumerate().min_by_key(|(_, holder)| holder.last);
            let oldest = oldest.map_or(0, |(at, _)| at);
            self.holders.swap_remove(oldest);
        }
        self.holders.push(Holder { mac, eth_src, port, by, times: 1, first: now, last: now });
    }

    fn last(&self) -> Timestamp {
        self.holders.iter().map(|holder| holder.last).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
