//! A switchover as the records see it. Whoever drives the gates asks for each step here, and goes on
//! when it is durable; each step says by its epoch which switchover it is of.

use std::sync::Arc;

use crate::base::{ClientKey, HwAddr, Resource, Span, Timestamp};
use crate::engine::Engine;
use crate::engine::effects::{Effects, EventKind};
use crate::engine::instances::Denied;
use crate::lease::directory::{
    Entry, Host, Identifiers, Instance, Kept, Kind, Planned, Readiness, Standby, StandbyState,
    Step, Switchover, Told,
};
use crate::lease::{Cause, Details, Lease, State, Uses};

use super::in_switchover;
use super::news::StandbyNews;

/// Longest name of who began a switchover, in bytes.
const BY_MAX: usize = 128;

impl Engine {
    /// Begins a switchover as part of the open batch: its intent, and a new epoch. `forced`: though
    /// the standby is not ready.
    pub fn begin_switchover(
        &mut self,
        now: Timestamp,
        id: &str,
        (kind, forced, by): (Kind, bool, &str),
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let old = self.known_standby(id)?;
        self.check_store()?;
        let Some(before) = old.state.readiness() else { return Err(in_switchover(&old)) };
        if before != Readiness::Ready && !forced {
            let mut missing = self.missing(&old);
            missing.push(match before {
                Readiness::Preparing => format!("{} % of the state is there", old.progress),
                _ => "its driver has not said that it is ready".to_owned(),
            });
            let (state, missing) = (before.as_str(), missing.join(", "));
            return Err(Denied::InUse(format!("standby \"{id}\" is {state}: {missing}")));
        }
        let opens = self.standby_policy(&old).opens(now);
        if kind == Kind::Planned && opens != now && !forced {
            let wait = Span::from_secs(opens.since(now).0.div_ceil(1000));
            return Err(Denied::InUse(format!(
                "standby \"{id}\": its network has windows for planned switchovers, and the next one \
                 opens in {wait}"
            )));
        }
        let by = within(by, BY_MAX).into();
        let (step, started) = (Step::Intended, now);
        let (noted, outage_us) = (vec![(step, now)], None);
        let switchover = Switchover { kind, step, forced, by, started, before, noted, outage_us };
        let new = Standby {
            epoch: old.epoch + 1,
            state: StandbyState::Switching(switchover),
            planned: None,
            until: Timestamp::NEVER,
            ..Standby::clone(&old)
        };
        Ok(self.rewrite(now, new, StandbyNews::Begun, fx))
    }

    /// Begins a planned switchover when a window opens, as part of the open batch; now, if one is
    /// open. It is not ready by then: it is said, and nothing is done.
    pub fn plan_switchover(
        &mut self,
        now: Timestamp,
        id: &str,
        by: &str,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let old = self.known_standby(id)?;
        let at = self.standby_policy(&old).opens(now);
        if at == now {
            return self.begin_switchover(now, id, (Kind::Planned, false, by), fx);
        }
        self.check_store()?;
        if old.state.readiness().is_none() {
            return Err(in_switchover(&old));
        }
        let planned = Some(Planned { at, by: within(by, BY_MAX).into() });
        let new = Standby { planned, ..Standby::clone(&old) };
        Ok(self.rewrite(now, new, StandbyNews::Planned, fx))
    }

    /// The window is open for which a switchover was planned.
    pub(super) fn begin_planned(&mut self, now: Timestamp, old: &Arc<Standby>, fx: &mut Effects) {
        let Some(planned) = &old.planned else { return };
        // A server that was away comes to it when the window is over.
        if self.standby_policy(old).opens(now) == now {
            let begun =
                self.begin_switchover(now, &old.id, (Kind::Planned, false, &planned.by), fx);
            if begun.is_ok() {
                return self.audit_standby(now, old, "switchover", fx);
            }
        }
        let new = Standby { planned: None, ..Standby::clone(old) };
        self.rewrite(now, new, StandbyNews::NotBegun, fx);
    }

    /// Notes a step that was done, as part of the open batch. One that was noted before changes
    /// nothing. [`Step::Promoted`] is [`Engine::promote`]'s.
    pub fn step_switchover(
        &mut self,
        now: Timestamp,
        id: &str,
        epoch: u64,
        step: Step,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let (old, switchover) = self.switchover(id, epoch)?;
        self.check_store()?;
        if step <= switchover.step {
            return Ok(old);
        }
        let not_yet = |why: &str| Err(Denied::InUse(format!("standby \"{id}\": {why}")));
        let unfenced = switchover.kind == Kind::Failure && !old.unfenced && !switchover.forced;
        if step > Step::Fenced && switchover.step < Step::Fenced && unfenced {
            return not_yet(
                "nobody has confirmed that the active is fenced, and `unfenced` is deny",
            );
        }
        if step == Step::Promoted || (step > Step::Promoted && !old.is_promoted()) {
            return not_yet("its leases are the active's yet, want it promoted first");
        }
        let switchover = switchover.stepped(step, now);
        let state = match old.is_promoted() {
            true => StandbyState::Promoted(switchover),
            false => StandbyState::Switching(switchover),
        };
        let new = Standby { state, ..Standby::clone(&old) };
        Ok(self.rewrite(now, new, StandbyNews::Stepped, fx))
    }

    /// Notes for how long nobody answered for the addresses, as part of the open batch. What was
    /// seen first counts.
    pub fn note_outage(
        &mut self,
        now: Timestamp,
        id: &str,
        (epoch, outage_us): (u64, u32),
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let (old, switchover) = self.switchover(id, epoch)?;
        self.check_store()?;
        if switchover.outage_us.is_some() {
            return Ok(old);
        }
        let switchover = Switchover { outage_us: Some(outage_us), ..switchover };
        let state = match old.is_promoted() {
            true => StandbyState::Promoted(switchover),
            false => StandbyState::Switching(switchover),
        };
        let new = Standby { state, ..Standby::clone(&old) };
        Ok(self.rewrite(now, new, StandbyNews::Measured, fx))
    }

    /// Calls a switchover off, before its gate was opened, as part of the open batch: the standby is
    /// what it was.
    pub fn abort_switchover(
        &mut self,
        now: Timestamp,
        id: &str,
        epoch: u64,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let old = self.known_standby(id)?;
        // It was called off already.
        if old.epoch == epoch && epoch > 0 && old.state.readiness().is_some() {
            return Ok(old);
        }
        let (old, switchover) = self.switchover(id, epoch)?;
        self.check_store()?;
        if switchover.step >= Step::Opened {
            let why = format!(
                "standby \"{id}\" speaks already ({}): there is no way back",
                switchover.step.as_str()
            );
            return Err(Denied::InUse(why));
        }
        let until = match switchover.before {
            Readiness::Ready => Timestamp::NEVER,
            _ => self.standby_deadline(now, &old),
        };
        let new = Standby { state: switchover.before.into(), until, ..Standby::clone(&old) };
        Ok(self.rewrite(now, new, StandbyNews::Aborted, fx))
    }

    /// Makes the leases the standby's, and what is kept for the active its own, in the open batch.
    /// The former active gets a NAK from then on. Once its gate is open.
    pub fn promote(
        &mut self,
        now: Timestamp,
        id: &str,
        epoch: u64,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let (old, switchover) = self.switchover(id, epoch)?;
        self.check_store()?;
        if old.is_promoted() {
            return Ok(old);
        }
        if switchover.step < Step::Opened {
            let step = switchover.step.as_str();
            let why = format!("the gate of standby \"{id}\" is not open yet: {step}");
            return Err(Denied::InUse(why));
        }
        let state = StandbyState::Promoted(switchover.stepped(Step::Promoted, now));
        let new = Standby { state, until: Timestamp::NEVER, ..Standby::clone(&old) };
        self.pass_on_kept(now, &old, fx);
        for resource in &old.resources {
            self.pass_on(now, &old, *resource, fx);
        }
        Ok(self.rewrite(now, new, StandbyNews::Promoted, fx))
    }

    /// Forgets a standby whose switchover is over, as part of the open batch. Not while the
    /// configuration file reserves for the former active what its standby has: that one alone says
    /// that it is not.
    pub fn finish_switchover(
        &mut self,
        now: Timestamp,
        id: &str,
        epoch: u64,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let (old, switchover) = self.switchover(id, epoch)?;
        self.check_store()?;
        if switchover.step < Step::Terminated {
            let step = switchover.step.as_str();
            let why = format!("the former active of standby \"{id}\" may live yet: {step}");
            return Err(Denied::InUse(why));
        }
        let mac = old.standby.who.mac.unwrap_or_default();
        let reserved = |resource: &Resource| {
            let host = self.reserved_resource(old.network, *resource);
            let host = host.filter(|host| *host != format!("mac {mac}"))?;
            Some(format!("{resource} is reserved in the configuration file for {host}"))
        };
        if let Some(why) = old.resources.iter().find_map(reserved) {
            return Err(Denied::InUse(format!("{why}, want mac {mac} there first")));
        }
        self.forget_standby(now, &old, StandbyNews::Finished, fx);
        Ok(old)
    }

    /// The switchover of that epoch, under way or done.
    fn switchover(&self, id: &str, epoch: u64) -> Result<(Arc<Standby>, Switchover), Denied> {
        let old = self.known_standby(id)?;
        if epoch < old.epoch {
            return Err(Denied::Epoch(epoch, old.epoch));
        }
        let none = || {
            let state = old.state.as_str();
            Denied::InUse(format!(
                "standby \"{id}\" is {state}: no switchover {epoch} is under way"
            ))
        };
        let switchover = old.state.switchover().filter(|_| epoch == old.epoch);
        let switchover = switchover.cloned().ok_or_else(none)?;
        Ok((old, switchover))
    }

    /// Makes one lease the standby's. What neither of them has is none.
    fn pass_on(&mut self, now: Timestamp, pair: &Standby, resource: Resource, fx: &mut Effects) {
        let before = self.table.get(pair.network, resource).cloned();
        let told = pair.told(resource);
        let held = before.as_ref().filter(|lease| lease.state == State::Leased);
        if held.is_none() && told.is_none() {
            return;
        }
        let until = [told.map(|told| told.until), held.map(|lease| lease.until)];
        let hw = pair.standby.who.hw().unwrap_or_default();
        let lease = Lease {
            network: pair.network,
            resource,
            client: told.map_or_else(|| ClientKey::hardware(&hw), |told| told.client.clone()),
            hw,
            state: State::Leased,
            since: now,
            updated: now,
            until: until.into_iter().flatten().max().unwrap_or(now),
            port: None,
            uses: before.as_ref().map_or(Uses::NONE, |lease| lease.uses),
            details: Arc::new(self.passed_details(pair, before.as_ref(), told, resource)),
        };
        if let Some(former) = held {
            let told = EventKind::Released(Box::new(former.clone()));
            self.say(now, Some(pair.network), told, fx);
        }
        self.put(lease.clone(), Cause::Promoted, fx);
        self.say(now, Some(pair.network), EventKind::Granted(Box::new(lease)), fx);
    }

    fn passed_details(
        &self,
        pair: &Standby,
        before: Option<&Lease>,
        told: Option<&Told>,
        resource: Resource,
    ) -> Details {
        let instance = pair.instance.clone().filter(|id| self.directory.instance(id).is_some());
        let former = before.and_then(|lease| lease.details.hostname.clone());
        Details {
            hostname: pair.hostname.as_deref().map(Box::from).or(former),
            account: pair.account.clone(),
            application: pair.application.clone(),
            instance,
            next_hop: told.and_then(|told| told.next_hop.clone()),
            tier: self.tier_of(pair.network, resource),
            ..Details::default()
        }
    }

    /// Whoever the addresses were kept for by name is the standby's machine from now on.
    fn pass_on_kept(&mut self, now: Timestamp, pair: &Standby, fx: &mut Effects) {
        let mut keepers: Vec<Arc<Kept>> = Vec::new();
        for resource in &pair.resources {
            let keeper = self.directory.keeper(pair.network, *resource).cloned();
            keepers.extend(keeper.filter(|kept| !keepers.iter().any(|k| Arc::ptr_eq(k, kept))));
        }
        for kept in keepers {
            let mut parts = kept.parts();
            let who = &pair.standby.who;
            parts.who =
                Identifiers { mac: who.mac, duid: who.duid.clone(), ..Identifiers::default() };
            let new = Arc::new(Kept::new(parts));
            let entry = match &kept.instance {
                Some(id) => self.directory.instance(id).map(|old| {
                    let old = Instance::clone(old);
                    let (mac_made, duid_seen) = (false, false);
                    let of = Instance { kept: new, mac_made, duid_seen, changed: now, ..old };
                    Entry::Instance(Arc::new(of))
                }),
                None => self.host_that_keeps(&kept).map(|old| {
                    Entry::Host(Arc::new(Host { kept: new, changed: now, ..Host::clone(&old) }))
                }),
            };
            if let Some(entry) = entry {
                self.enter(entry, fx);
            }
        }
    }

    /// The reservation made at run time that keeps this.
    fn host_that_keeps(&self, kept: &Arc<Kept>) -> Option<Arc<Host>> {
        self.directory.list("host/", None).find_map(|entry| match entry {
            Entry::Host(host) if Arc::ptr_eq(&host.kept, kept) => Some(Arc::clone(host)),
            _ => None,
        })
    }

    /// Whether this machine gave up its address to its standby, and has not heard of it.
    pub(in crate::engine) fn is_former_active(
        &self,
        network: crate::base::NetworkId,
        hw: &HwAddr,
        resource: Resource,
    ) -> bool {
        let pair = self.directory.pair_of(network, resource);
        pair.is_some_and(|pair| pair.is_promoted() && pair.active.who.hw().as_ref() == Some(hw))
    }
}

/// As much of a text as fits.
fn within(text: &str, most: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= most).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
