//! Which audit records somebody wants to see.

use std::path::Path;

use crate::base::{ClientKey, HwAddr, NetworkId, Resource, Timestamp, Within};
use crate::lease::{Cause, Change};
use crate::store::StoreError;

use super::{Backward, Entry, Forward};

/// The word for the end of a quarantine or a shadow.
pub const LIFTED: &str = "lifted";
/// The word for what somebody did.
pub const ACT: &str = "act";

/// Every word for what an audit record tells of, in no order.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let imported = Cause::Imported(Timestamp(0));
    let causes = Cause::TIMELESS.iter().chain(std::iter::once(&imported)).copied();
    let kept: Vec<&str> = causes.filter(|cause| cause.is_kept()).map(Cause::as_str).collect();
    kept.into_iter().chain([LIFTED, ACT])
}

impl Entry {
    /// The word for what it tells of.
    pub fn kind(&self) -> &'static str {
        match &self.change {
            Change::Put(_, cause) => cause.as_str(),
            Change::Remove(..) => LIFTED,
            Change::Act(_) => ACT,
            Change::Meta(..) | Change::Forget(_) => "fact",
        }
    }

    /// The account that it concerns.
    pub fn account(&self) -> Option<&str> {
        match &self.change {
            Change::Put(lease, _) => lease.details.account.as_deref(),
            Change::Act(act) => act.account.as_deref(),
            _ => None,
        }
    }

    /// The network and the resource that it is about.
    pub fn place(&self) -> Option<(NetworkId, Resource)> {
        match &self.change {
            Change::Put(lease, _) => Some((lease.network, lease.resource)),
            Change::Remove(network, resource, _) => Some((*network, *resource)),
            _ => None,
        }
    }
}

/// Which records; what is `None` or empty does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time, with it.
    pub to: Option<Timestamp>,
    /// On this network.
    pub network: Option<NetworkId>,
    /// About this address or prefix, or one inside it.
    pub within: Option<Within>,
    /// Of one of these accounts.
    pub accounts: Option<Vec<Box<str>>>,
    /// Of this hardware address.
    pub hw: Option<HwAddr>,
    /// Of this client.
    pub client: Option<ClientKey>,
    /// Of one of these kinds: see [`kinds`].
    pub kinds: Vec<Box<str>>,
}

impl Filter {
    /// Whether a record passes.
    pub fn passes(&self, entry: &Entry) -> bool {
        let at = entry.at();
        let place = entry.place();
        let lease = match &entry.change {
            Change::Put(lease, _) => Some(lease),
            _ => None,
        };
        self.from.is_none_or(|from| from <= at)
            && self.to.is_none_or(|to| at <= to)
            && self.network.is_none_or(|network| place.is_some_and(|(of, _)| of == network))
            && self.within.is_none_or(|within| place.is_some_and(|(_, of)| within.holds(of)))
            && self.hw.is_none_or(|hw| lease.is_some_and(|lease| lease.hw == hw))
            && self.client.as_ref().is_none_or(|it| lease.is_some_and(|l| l.client == *it))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| **kind == *entry.kind()))
            && self.accounts.as_ref().is_none_or(|all| {
                entry.account().is_some_and(|account| all.iter().any(|it| **it == *account))
            })
    }

    fn times(&self) -> (Timestamp, Timestamp) {
        (self.from.unwrap_or(Timestamp(0)), self.to.unwrap_or(Timestamp::NEVER))
    }

    /// A reader of the records from number `next` on, for [`Filter::read`].
    pub fn reader(&self, dir: &Path, next: u64) -> Forward {
        Forward::within(dir, next, self.times())
    }

    /// The next records of `reader` that pass, oldest first.
    pub fn read(&self, reader: &mut Forward, bounds: Bounds) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for _ in 0..bounds.looks {
            let Some(entry) = reader.read()? else {
                found.next = reader.position();
                return Ok(found);
            };
            if self.passes(&entry) {
                found.entries.push(entry);
            }
            if found.entries.len() >= bounds.entries {
                break;
            }
        }
        (found.next, found.more) = (reader.position(), true);
        Ok(found)
    }

    /// The records from number `next` on that pass, oldest first.
    pub fn forward(&self, dir: &Path, next: u64, bounds: Bounds) -> Result<Found, StoreError> {
        self.read(&mut self.reader(dir, next), bounds)
    }

    /// The records before number `before` that pass, newest first; from the newest if that is
    /// `None`.
    pub fn backward(
        &self,
        dir: &Path,
        before: Option<u64>,
        bounds: Bounds,
    ) -> Result<Found, StoreError> {
        let mut reader = Backward::within(dir, before, self.times());
        let mut found = Found::default();
        for _ in 0..bounds.looks {
            let Some(entry) = reader.read()? else {
                found.next = reader.position();
                return Ok(found);
            };
            if self.passes(&entry) {
                found.entries.push(entry);
            }
            if found.entries.len() >= bounds.entries {
                break;
            }
        }
        (found.next, found.more) = (reader.position(), true);
        Ok(found)
    }
}

/// How far one look goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records to return at most.
    pub entries: usize,
    /// Records to look at at most.
    pub looks: usize,
}

/// What one look found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The records, in the order in which they were looked at.
    pub entries: Vec<Entry>,
    /// Where to go on: the number of the next record, or backwards of the last one looked at.
    pub next: u64,
    /// There may be more there.
    pub more: bool,
}
