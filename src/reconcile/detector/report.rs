//! From what was answered to what is said.

use super::*;

impl Detector {
    /// A case about `addr` is over: `held` answered whenever they were asked.
    pub(super) fn decide(
        &mut self,
        addr: IpAddr,
        since: Timestamp,
        held: Vec<Mac>,
        now: Timestamp,
        out: &mut Outcome,
    ) {
        // A lease or a promotion that is younger than what is known would be a finding.
        if self.known.as_of != Timestamp::NEVER && self.verdict(addr, &held).is_some() {
            out.look = true;
            self.decided.insert(addr, (since, held));
            return;
        }
        self.conclude(addr, since, &held, now, out);
    }

    fn verdict(&self, addr: IpAddr, held: &[Mac]) -> Option<(Kind, Vec<Mac>)> {
        let is_ignored = |mac: &Mac| self.is_ignored(addr, *mac);
        let holders: Vec<Mac> = held.iter().copied().filter(|mac| !is_ignored(mac)).collect();
        self.known.judge(addr, &holders)
    }

    /// The same, by what is known now.
    pub(super) fn conclude(
        &mut self,
        addr: IpAddr,
        since: Timestamp,
        held: &[Mac],
        now: Timestamp,
        out: &mut Outcome,
    ) {
        let verdict = self.verdict(addr, held);
        let entry = self.addrs.touch(addr);
        entry.holders.retain(|holder| held.contains(&holder.mac) || holder.first > since);
        entry.quiet_until = now + CASE_REST;
        let evidence: Vec<Evidence> = entry.holders.iter().map(Holder::evidence).collect();
        match verdict {
            Some((kind, macs)) => self.find(kind, addr, macs, evidence, now, out),
            None => out.cleared.extend(self.findings.remove(&addr)),
        }
    }

    fn find(
        &mut self,
        kind: Kind,
        addr: IpAddr,
        macs: Vec<Mac>,
        mut evidence: Vec<Evidence>,
        now: Timestamp,
        out: &mut Outcome,
    ) {
        evidence.retain(|of| macs.contains(&of.mac));
        let mut finding = Finding { kind, addr, macs, evidence, first_seen: now, last_seen: now };
        let before = self.findings.get(&addr);
        if before.is_none() && self.findings.len() >= FINDINGS_MAX {
            self.counts.lost += 1;
            return;
        }
        match before {
            Some(before) if before.kind == kind => {
                finding.first_seen = before.first_seen;
                if before.macs != finding.macs {
                    out.found.push(finding.clone());
                }
            }
            before => {
                out.cleared.extend(before.cloned());
                out.found.push(finding.clone());
            }
        }
        self.findings.insert(addr, finding);
    }

    /// Somebody spoke for `addr`: it is not silent.
    pub(super) fn is_heard_again(&mut self, addr: IpAddr, now: Timestamp, out: &mut Outcome) {
        self.silent.remove(&addr);
        match self.findings.get_mut(&addr) {
            Some(finding) if finding.kind == Kind::LeasedSilent => {
                finding.last_seen = now;
                out.cleared.extend(self.findings.remove(&addr));
            }
            _ => {}
        }
    }

    /// Counts leased addresses that nobody spoke for since the sweep began.
    pub(super) fn count_silent(&mut self, since: Timestamp, now: Timestamp, out: &mut Outcome) {
        if self.settings.silent_sweeps == 0 {
            return;
        }
        let is_silent =
            |addr: &IpAddr| self.addrs.get(addr).is_none_or(|entry| entry.last() < since);
        let leased = self.known.bound.iter().filter(|(_, bound)| bound.leased);
        let silent = leased.filter(|(addr, _)| is_silent(addr) && self.known.is_of_link(**addr));
        let silent: Vec<(IpAddr, Mac)> =
            silent.filter_map(|(addr, bound)| Some((*addr, bound.mac?))).collect();
        let mut before = std::mem::take(&mut self.silent);
        for (addr, mac) in silent {
            let times = before.remove(&addr).unwrap_or(0).saturating_add(1);
            self.silent.insert(addr, times);
            match times >= self.settings.silent_sweeps {
                true if !self.findings.contains_key(&addr) || self.is_found_silent(addr) => {
                    self.find(Kind::LeasedSilent, addr, vec![mac], vec![], now, out);
                }
                // The next sweep asks all; some hosts answer only who asks them.
                _ => self.question(Ask::Who { addr, to: Some(mac) }),
            }
        }
        // Leases that ended are silent by right.
        let gone: Vec<IpAddr> = self.findings.keys().copied().collect();
        for addr in gone {
            if self.is_found_silent(addr) && !self.silent.contains_key(&addr) {
                out.cleared.extend(self.findings.remove(&addr));
            }
        }
    }

    fn is_found_silent(&self, addr: IpAddr) -> bool {
        self.findings.get(&addr).is_some_and(|finding| finding.kind == Kind::LeasedSilent)
    }

    /// A server spoke.
    pub(super) fn server_spoke(
        &mut self,
        server: Server,
        seen: Sighting,
        now: Timestamp,
        out: &mut Outcome,
    ) {
        let Sighting { addr, mac, .. } = seen;
        let Some(kind) = self.known.judge_server(server, addr, mac) else { return };
        let is_full = self.servers.len() >= OTHERS_MAX;
        match self.servers.get_mut(&(server, mac)) {
            Some(watched) => watched.seen(seen, now),
            None if is_full => self.counts.lost += 1,
            None => {
                let watched = Watched::new(kind, seen, now);
                out.found.push(watched.finding.clone());
                self.servers.insert((server, mac), watched);
            }
        }
    }

    /// What `mac` claimed led to `verdict`.
    pub(super) fn take_verdict(
        &mut self,
        mac: Mac,
        verdict: Verdict,
        seen: Sighting,
        now: Timestamp,
        out: &mut Outcome,
    ) {
        let addrs = match verdict {
            Verdict::Nothing => return,
            Verdict::Check(addrs) => {
                for addr in addrs {
                    self.question(Ask::Who { addr, to: Some(mac) });
                }
                return;
            }
            Verdict::Proxy(addrs) => addrs,
        };
        let is_full = self.proxies.len() >= OTHERS_MAX;
        match self.proxies.get_mut(&mac) {
            Some(watched) => watched.seen(seen, now),
            None => {
                // What was said of it before is looked at again, without it.
                let of_it = self.findings.values().filter(|finding| finding.macs.contains(&mac));
                self.rechecks.extend(of_it.map(|finding| finding.addr));
                // A router that is known may answer for whom it likes.
                if self.known.routers.macs.contains(&mac) {
                    return;
                }
                if is_full {
                    self.counts.lost += 1;
                    return;
                }
                let addr = addrs.into_iter().min().unwrap_or(seen.addr);
                let watched = Watched::new(Kind::Proxy, Sighting { addr, ..seen }, now);
                out.found.push(watched.finding.clone());
                self.proxies.insert(mac, watched);
            }
        }
    }

    /// A sweep begins: who was not seen in the last few is gone, and proxies are asked again.
    pub(super) fn miss_watched(&mut self, now: Timestamp, out: &mut Outcome) {
        let since = self.last_sweep;
        let gone = self.servers.extract_if(.., |_, watched| watched.miss(since));
        out.cleared.extend(gone.map(|(_, watched)| watched.finding));
        let gone: Vec<(Mac, Watched)> =
            self.proxies.extract_if(.., |_, watched| watched.miss(since)).collect();
        for (mac, watched) in gone {
            self.speakers.clear(mac);
            out.cleared.push(watched.finding);
        }
        let proxies: Vec<Mac> = self.proxies.keys().copied().collect();
        for mac in proxies {
            for addr in self.speakers.recheck(mac, now) {
                self.question(Ask::Who { addr, to: Some(mac) });
            }
        }
    }
}

impl Watched {
    fn new(kind: Kind, seen: Sighting, now: Timestamp) -> Watched {
        let Sighting { addr, mac, eth_src, port, by } = seen;
        let holder = Holder { mac, eth_src, port, by, times: 1, first: now, last: now };
        let (macs, evidence) = (vec![mac], vec![holder.evidence()]);
        let finding = Finding { kind, addr, macs, evidence, first_seen: now, last_seen: now };
        Watched { finding, missed: 0 }
    }

    fn seen(&mut self, seen: Sighting, now: Timestamp) {
        (self.finding.last_seen, self.missed) = (now, 0);
        if let Some(evidence) = self.finding.evidence.first_mut() {
            evidence.times = evidence.times.saturating_add(1);
            (evidence.by, evidence.last) = (seen.by, now);
            evidence.port = seen.port.or(evidence.port);
        }
    }

    /// A sweep is over. Whether it is gone: not seen since, as in those before.
    fn miss(&mut self, since: Timestamp) -> bool {
        if self.finding.last_seen >= since {
            self.missed = 0;
            return false;
        }
        self.missed += 1;
        self.missed >= SWEEPS_GONE
    }
}
