//! Standbys: who holds the addresses of somebody else behind a gate, to take them over.
//!
//! The record in the directory is all there is of the standby's binding; the [`LeaseTable`] knows the
//! active's alone, until the promotion moves it. [`name`] says who may be one, [`switch`] is the
//! switchover as the records see it, [`v4`] and [`v6`] answer what standbys ask.
//!
//! [`LeaseTable`]: crate::lease::LeaseTable

pub mod name;
pub mod news;
pub mod switch;
mod v4;
mod v6;

use std::sync::Arc;

use crate::base::{HwAddr, NetworkId, Resource, Timestamp};
use crate::config::policy::StandbyPolicy;
use crate::lease::directory::{Entry, Identifier, Readiness, Standby, StandbyState, Told};
use crate::lease::{Act, State};

use super::Engine;
use super::effects::{Effects, EventKind};
use super::instances::Denied;
use news::StandbyNews;

/// Who does what nobody asks for, in audit records.
const SELF: &str = "foreshadow";

/// What a driver says of a standby; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How much of the state of the active is there, in percent.
    pub progress: Option<u8>,
    /// How far the standby is.
    pub state: Option<Readiness>,
}

impl Engine {
    /// Notes whether the gate of a standby is in place, as its agent says, as part of the open
    /// batch. One that was ready is so no longer without it.
    pub fn gated(
        &mut self,
        now: Timestamp,
        id: &str,
        gated: bool,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let old = self.known_standby(id)?;
        self.check_store()?;
        if old.gated == gated {
            return Ok(old);
        }
        let mut new = Standby { gated, ..Standby::clone(&old) };
        if !gated && new.state == StandbyState::Ready {
            (new.state, new.until) = (StandbyState::Synced, self.standby_deadline(now, &old));
        }
        let news = if gated { StandbyNews::Gated } else { StandbyNews::Ungated };
        Ok(self.rewrite(now, new, news, fx))
    }

    /// Notes how far a standby is, as its driver says, as part of the open batch. It is ready only
    /// behind its gate and with all that it shares.
    pub fn report(
        &mut self,
        now: Timestamp,
        id: &str,
        report: Report,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let old = self.known_standby(id)?;
        self.check_store()?;
        if let Some(progress) = report.progress.filter(|progress| *progress > 100) {
            return Err(Denied::Invalid("progress", format!("{progress}, want 0 to 100 percent")));
        }
        let Some(was) = old.state.readiness() else { return Err(in_switchover(&old)) };
        let state = report.state.unwrap_or(was);
        let missing = self.missing(&old);
        if state == Readiness::Ready && !missing.is_empty() {
            let why = format!("standby \"{id}\" is not ready: {}", missing.join(", "));
            return Err(Denied::InUse(why));
        }
        let all = report.state.is_some_and(|state| state != Readiness::Preparing);
        let progress = report.progress.unwrap_or(if all { 100 } else { old.progress });
        let until = match (was, state) {
            (_, Readiness::Ready) => Timestamp::NEVER,
            (Readiness::Ready, _) => self.standby_deadline(now, &old),
            _ => old.until,
        };
        let new = Standby { state: state.into(), progress, until, ..Standby::clone(&old) };
        if new == *old {
            return Ok(old);
        }
        Ok(self.rewrite(now, new, StandbyNews::Reported, fx))
    }

    /// Forgets a standby as part of the open batch: the addresses are its active's alone again, or
    /// its own if it was promoted. Not while it is being switched to.
    pub fn drop_standby(
        &mut self,
        now: Timestamp,
        id: &str,
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        let old = self.known_standby(id)?;
        self.check_store()?;
        if let StandbyState::Switching(_) = old.state {
            return Err(in_switchover(&old));
        }
        self.forget_standby(now, &old, StandbyNews::Dropped, fx);
        Ok(old)
    }

    /// What keeps a standby from being ready, in words; nothing if it can be.
    pub fn missing(&self, of: &Standby) -> Vec<String> {
        let mut missing = Vec::new();
        if !of.gated {
            missing.push("its gate is not confirmed".to_owned());
        }
        // What was never leased is configured in the guest: nobody will ask for it.
        let leased = |r: &&Resource| self.table.get(of.network, **r).is_some();
        let lacking = of.resources.iter().filter(leased).filter(|r| of.told(**r).is_none());
        missing.extend(lacking.map(|resource| format!("it has not got {resource} yet")));
        missing
    }

    pub(super) fn known_standby(&self, id: &str) -> Result<Arc<Standby>, Denied> {
        let unknown = || Denied::Unknown(format!("no standby is called \"{id}\""));
        self.directory.standby(id).cloned().ok_or_else(unknown)
    }

    fn standby_policy(&self, of: &Standby) -> StandbyPolicy {
        let network = self.policy.networks.iter().find(|network| network.id == of.network);
        network.map(|network| network.standby.clone()).unwrap_or_default()
    }

    /// Until when a standby that is not ready is kept.
    fn standby_deadline(&self, now: Timestamp, of: &Standby) -> Timestamp {
        now + self.standby_policy(of).timeout
    }

    /// Writes a standby anew as part of the open batch, and says so.
    fn rewrite(
        &mut self,
        now: Timestamp,
        new: Standby,
        news: StandbyNews,
        fx: &mut Effects,
    ) -> Arc<Standby> {
        let new = Arc::new(Standby { changed: now, ..new });
        self.enter(Entry::Standby(Arc::clone(&new)), fx);
        self.say(now, Some(new.network), EventKind::Standby(news, Arc::clone(&new)), fx);
        new
    }

    fn forget_standby(
        &mut self,
        now: Timestamp,
        old: &Arc<Standby>,
        news: StandbyNews,
        fx: &mut Effects,
    ) {
        self.leave(Entry::Standby(Arc::clone(old)), fx);
        self.say(now, Some(old.network), EventKind::Standby(news, Arc::clone(old)), fx);
        for resource in &old.resources {
            self.settle(old.network, *resource);
        }
    }

    /// Keeps an audit record of what became of a standby that nobody asked for.
    fn audit_standby(&mut self, now: Timestamp, of: &Standby, verb: &str, fx: &mut Effects) {
        let act = Act {
            at: now,
            who: SELF.into(),
            verb: verb.into(),
            object: format!("standbys/{}", of.id).into(),
            account: of.account.as_deref().map(Box::from),
            before: None,
            after: None,
        };
        self.audit(act, fx);
    }

    /// When the next standby is dropped that did not become ready, or switched to as planned.
    pub(super) fn next_standby(&self) -> Option<Timestamp> {
        self.directory.next_standby_due().map(|(until, _)| until).filter(|_| self.may_expire())
    }

    /// Drops the standbys that did not become ready in time, and begins what is planned for now.
    pub(super) fn expire_standbys(&mut self, now: Timestamp, fx: &mut Effects) {
        while let Some((due, id)) = self.directory.next_standby_due() {
            let Some(old) = self.directory.standby(id).filter(|_| due <= now).cloned() else {
                return;
            };
            if old.until > now {
                self.begin_planned(now, &old, fx);
                continue;
            }
            self.forget_standby(now, &old, StandbyNews::TimedOut, fx);
            self.audit_standby(now, &old, "time-out", fx);
        }
    }

    /// The pair whose standby asks, by its hardware address.
    pub(super) fn pair_asking(
        &self,
        network: NetworkId,
        hw: Option<&HwAddr>,
    ) -> Option<Arc<Standby>> {
        let mac = hw?.mac()?;
        self.directory.pair_of_standby(network, Identifier::Mac(mac)).cloned()
    }

    /// Whether two share `resource` and the client with this hardware is not the one whose turn it
    /// is: before the promotion the active, after it its standby. An active that has a new
    /// interface is known by its binding (`is_bound`).
    pub(super) fn is_paired_for_other(
        &self,
        network: NetworkId,
        resource: Resource,
        hw: Option<&HwAddr>,
        is_bound: impl FnOnce() -> bool,
    ) -> bool {
        let Some(pair) = self.directory.pair_of(network, resource) else { return false };
        let promoted = pair.is_promoted();
        let holder = if promoted { pair.standby.who.hw() } else { pair.active.who.hw() };
        holder.as_ref() != hw && (promoted || !is_bound())
    }

    /// Somebody answers for what nobody has by our books; whether two share it, and so it is not
    /// ours to put out of use.
    pub(super) fn answered_for_pair(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        mac: crate::base::Mac,
        fx: &mut Effects,
    ) -> bool {
        let Some(pair) = self.directory.pair_of(network, resource).cloned() else { return false };
        self.say(now, Some(network), EventKind::Standby(StandbyNews::Answered(mac), pair), fx);
        true
    }

    /// The active found its address in use: by its standby, whose gate leaks, or by a third, which is
    /// for others to find out. Nothing is put out of use. Whether two share it.
    pub(super) fn active_declined(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) -> bool {
        let pair = self.directory.pair_of(network, resource).filter(|pair| !pair.is_promoted());
        let Some(pair) = pair.cloned() else { return false };
        self.audit_standby(now, &pair, "active-decline", fx);
        self.say(now, Some(network), EventKind::Standby(StandbyNews::ActiveDeclined, pair), fx);
        true
    }

    /// The standby found what it was given in use, though its gate should hide that: it is to be
    /// prepared anew, as part of the open batch.
    fn standby_declined(&mut self, now: Timestamp, pair: &Standby, fx: &mut Effects) {
        let mut new = Standby { told: Vec::new(), gated: false, ..pair.clone() };
        if new.state.readiness().is_some() {
            (new.state, new.until) = (StandbyState::Preparing, self.standby_deadline(now, pair));
        }
        self.audit_standby(now, pair, "decline", fx);
        self.rewrite(now, new, StandbyNews::Declined, fx);
    }

    /// The standby gave back what it has: it is dropped, unless it is being switched to. Whether it
    /// was.
    fn standby_released(&mut self, now: Timestamp, pair: &Arc<Standby>, fx: &mut Effects) -> bool {
        if pair.state.readiness().is_none() {
            return false;
        }
        self.audit_standby(now, pair, "release", fx);
        self.forget_standby(now, pair, StandbyNews::Released, fx);
        true
    }

    /// Notes what a standby is acknowledged, as part of the open batch. Other addresses of the same
    /// sort that its machine had are given up.
    fn note_told(
        &mut self,
        now: Timestamp,
        pair: &Arc<Standby>,
        told: Vec<Told>,
        fx: &mut Effects,
    ) -> Arc<Standby> {
        let is_new = told.iter().any(|told| pair.told(told.resource).is_none());
        let mut new = Standby::clone(pair);
        for told in told {
            self.give_up_others(now, pair, told.resource, fx);
            new.told.retain(|other| other.resource != told.resource);
            new.told.push(told);
        }
        if is_new {
            return self.rewrite(now, new, StandbyNews::Told, fx);
        }
        let new = Arc::new(new);
        self.enter(Entry::Standby(Arc::clone(&new)), fx);
        new
    }

    fn give_up_others(&mut self, now: Timestamp, pair: &Standby, kept: Resource, fx: &mut Effects) {
        let Some(hw) = pair.standby.who.hw() else { return };
        let own = self.table.of_hw(pair.network, &hw).filter(|l| {
            l.state == State::Leased
                && l.resource.sort() == kept.sort()
                && !pair.resources.contains(&l.resource)
        });
        let own: Vec<_> = own.cloned().collect();
        for lease in own {
            self.abandon(now, lease, fx);
        }
    }
}

/// Why nothing can be done about a standby that is being switched to, or was.
fn in_switchover(of: &Standby) -> Denied {
    let id = &of.id;
    Denied::InUse(match &of.state {
        StandbyState::Switching(switchover) => format!(
            "standby \"{id}\" is being switched to (epoch {}, begun by {}, {})",
            of.epoch,
            switchover.by,
            switchover.step.as_str()
        ),
        state => format!("standby \"{id}\" is {}", state.as_str()),
    })
}
