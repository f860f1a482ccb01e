//! The sweep and the cases: what is asked when.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::base::{Prefix4, Range4};
use crate::reconcile::sweep::Targets;

/// A subnet with a longer prefix than this is asked whole.
const WHOLE_PREFIX_MIN: u8 = 12;
/// A pool of IPv6 up to this size is asked whole.
const POOL6_MAX: u128 = 4096;
/// IPv6 addresses that were heard and are asked again, at most.
const LEARNT6_MAX: usize = 8192;

impl Detector {
    pub(super) fn start_sweep(&mut self, now: Timestamp, out: &mut Outcome) {
        out.refresh |= self.known.as_of != Timestamp::NEVER;
        self.miss_watched(now, out);
        // Who is silent has no claim that would open a case.
        let findings = self.findings.iter().filter(|(_, f)| f.kind != Kind::LeasedSilent);
        self.rechecks = findings.map(|(addr, _)| *addr).collect();
        if self.settings.probe_servers {
            self.ask_servers(out);
        }
        let seed = self.next_random();
        let walk = Walk::new(self.targets(), seed);
        self.sweep = Some(Sweep { started: now, walk, settles: None });
        self.next_sweep = now + self.settings.interval;
    }

    fn ask_servers(&mut self, out: &mut Outcome) {
        // One client for all sweeps: its offer is the same each time, and no pool runs dry of it.
        let [_, _, a, b, c, d, e, _] = self.settings.seed.wrapping_mul(0x9e37_79b9).to_le_bytes();
        let client = Mac([0x02, a, b, c, d, e]);
        let xid = self.next_random() as u32;
        let v6 = !self.known.subnets6.is_empty();
        let v4 = !self.known.subnets4.is_empty();
        let of4 = [Ask::Dhcp4 { xid, client }];
        let of6 = [Ask::Dhcp6 { xid: xid >> 8, client }, Ask::Routers, Ask::Nodes];
        let all = of4.into_iter().filter(|_| v4).chain(of6.into_iter().filter(|_| v6));
        for ask in all {
            self.counts.asked += 1;
            out.asks.push(ask);
        }
    }

    fn targets(&self) -> Targets {
        let whole =
            |subnet: &&Prefix4| self.settings.whole_subnets && subnet.len() >= WHOLE_PREFIX_MIN;
        let mut ranges4: Vec<Range4> =
            self.known.subnets4.iter().filter(whole).map(hosts_of).collect();
        for pool in &self.known.pools4 {
            if !ranges4.iter().any(|range| range.overlaps(pool)) {
                ranges4.push(*pool);
            }
        }
        let mut ranges6: Vec<(Ipv6Addr, u32)> = vec![];
        for prefix in &self.known.subnets6 {
            let first = prefix.network().to_bits().saturating_add(1);
            let room = prefix.last().to_bits().saturating_sub(first);
            let count = u128::from(self.settings.low6).min(room.saturating_add(1));
            ranges6.push((Ipv6Addr::from_bits(first), count as u32));
        }
        let is_in_range = |addr: &IpAddr| match addr {
            IpAddr::V4(addr) => ranges4.iter().any(|range| range.contains(*addr)),
            IpAddr::V6(addr) => ranges6.iter().any(|(first, count)| {
                addr.to_bits().checked_sub(first.to_bits()).is_some_and(|at| at < (*count).into())
            }),
        };
        let pools6 = self.known.pools6.iter().filter(|pool| pool.size() <= POOL6_MAX);
        let pools6 = pools6.flat_map(|pool| {
            (0..pool.size()).map(|at| Ipv6Addr::from_bits(pool.first.to_bits() + at).into())
        });
        let learnt = self.addrs.keys().filter(|addr| addr.is_ipv6()).copied().take(LEARNT6_MAX);
        let bound = self.known.bound.keys().chain(self.known.pairs.keys()).copied();
        let list: BTreeSet<IpAddr> = pools6.chain(learnt).chain(bound).collect();
        let is_new = |addr: &IpAddr| !is_in_range(addr) && self.known.is_of_link(*addr);
        let list: Vec<IpAddr> = list.into_iter().filter(is_new).collect();
        let ranges4 = ranges4.iter().map(|range| (range.first, range.size() as u32)).collect();
        Targets { ranges4, ranges6, list }
    }

    pub(super) fn end_sweep(&mut self, now: Timestamp, out: &mut Outcome) {
        let Some(sweep) = self.sweep.take() else { return };
        self.counts.sweeps += 1;
        self.last_sweep = sweep.started;
        self.last_end = now;
        self.count_silent(sweep.started, now, out);
    }

    /// Opens cases for findings that are to be looked at again, as far as there is room.
    pub(super) fn open_rechecks(&mut self, now: Timestamp) {
        while self.cases.len() < CASES_MAX / 2 {
            let Some(addr) = self.rechecks.pop_front() else { break };
            if self.findings.contains_key(&addr) && !self.cases.contains_key(&addr) {
                self.open(addr, now);
            }
        }
    }

    /// Opens a case about `addr`.
    pub(super) fn open(&mut self, addr: IpAddr, now: Timestamp) {
        if self.cases.len() >= CASES_MAX {
            self.counts.lost += 1;
            return;
        }
        let held = self.addrs.get(&addr).map(|entry| self.heard_of(addr, entry));
        let blamed = self.findings.get(&addr).map(|finding| finding.macs.clone());
        let expected = self.known.expected(addr);
        let macs = expected.chain(blamed.into_iter().flatten()).chain(held.into_iter().flatten());
        let others: Vec<Mac> = macs.filter(|mac| !self.known.is_own_mac(*mac)).collect();
        self.counts.cases += 1;
        self.cases.insert(addr, Case::new(others, now));
    }

    /// One question that waits for its turn.
    pub(super) fn ask_one(&mut self, now: Timestamp, out: &mut Outcome) -> bool {
        !self.questions.is_empty() && self.budget.take(now) && {
            out.asks.extend(self.questions.pop_front());
            self.counts.asked += 1;
            true
        }
    }

    /// The next case that is due. Whether it asked something.
    pub(super) fn step_one(&mut self, now: Timestamp, out: &mut Outcome) -> bool {
        loop {
            let Some(addr) = self.next_due(now) else { return false };
            if !self.budget.take(now) {
                return false;
            }
            self.served = Some(addr);
            let Some(case) = self.cases.get_mut(&addr) else { return false };
            match case.step(now) {
                Step::Ask(mac) => {
                    out.asks.push(Ask::Who { addr, to: Some(mac) });
                    self.counts.asked += 1;
                    return true;
                }
                Step::RoundOver => {
                    let macs: SmallVec<[Mac; 4]> = case.macs().collect();
                    macs.into_iter().for_each(|mac| self.bait(addr, mac, now));
                }
                Step::Over(held) => {
                    let since = case.since;
                    self.cases.remove(&addr);
                    self.decide(addr, since, held, now, out);
                }
                Step::Wait => {}
            }
            self.budget.give_back();
        }
    }

    /// The first case that is due behind the one that was served last, round and round.
    fn next_due(&self, now: Timestamp) -> Option<IpAddr> {
        let behind = self.served.map_or(Unbounded, Excluded);
        let rest = self.cases.range((behind, Unbounded)).chain(self.cases.iter());
        rest.filter(|(_, case)| case.due <= now).map(|(addr, _)| *addr).next()
    }

    /// The next address of the sweep.
    pub(super) fn walk_one(&mut self, now: Timestamp, out: &mut Outcome) -> bool {
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.settles.is_none()) else {
            return false;
        };
        if sweep.walk.left() == 0 {
            sweep.settles = Some(now + SETTLE);
            return false;
        }
        if !self.budget.take(now) {
            return false;
        }
        if let Some(addr) = sweep.walk.next() {
            out.asks.push(Ask::Who { addr, to: None });
            self.counts.asked += 1;
        }
        true
    }

    /// Has a question asked of one host when its turn comes.
    pub(super) fn question(&mut self, ask: Ask) {
        match self.questions.len() < QUESTIONS_MAX {
            true => self.questions.push_back(ask),
            false => self.counts.lost += 1,
        }
    }
}

fn hosts_of(subnet: &Prefix4) -> Range4 {
    let Range4 { first, last } = subnet.range();
    match subnet.len() {
        31.. => Range4 { first, last },
        _ => Range4 {
            first: Ipv4Addr::from_bits(first.to_bits() + 1),
            last: Ipv4Addr::from_bits(last.to_bits() - 1),
        },
    }
}
