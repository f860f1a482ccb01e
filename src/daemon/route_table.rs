//! The kernel's routes of ours, made those that there should be.
//!
//! The kernel's table is read at start, when there is a reason to doubt it, and now and then.
//! Routes of ours that should not be there go, those that are missing come, and what the kernel
//! refuses is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{Route6, RouteTable};

use super::clock::Clock;
use super::counters::Counters;

/// How often what the kernel refused is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How often the kernel's table is read without a reason: others may change it.
const AUDIT_EVERY: Duration = Duration::from_secs(60);

/// A prefix and its length, as the kernel knows a route.
pub type Target = (Ipv6Addr, u8);

/// Where the routes are: [`RouteTable`]; tests have their own.
pub trait Table: Send {
    /// All routes of ours.
    fn list(&self) -> io::Result<Vec<Route6>>;
    /// Installs a route, or replaces the one of ours to the same prefix.
    fn add(&self, route: &Route6) -> io::Result<()>;
    /// Removes a route of ours, if it is there.
    fn remove(&self, prefix: Ipv6Addr, len: u8) -> io::Result<()>;
}

impl Table for RouteTable {
    fn list(&self) -> io::Result<Vec<Route6>> {
        RouteTable::list(self)
    }

    fn add(&self, route: &Route6) -> io::Result<()> {
        RouteTable::add(self, route)
    }

    fn remove(&self, prefix: Ipv6Addr, len: u8) -> io::Result<()> {
        RouteTable::remove(self, prefix, len)
    }
}

/// A table, and what is known of it.
pub struct Kept {
    table: Box<dyn Table>,
    counters: Arc<Counters>,
    /// What the kernel has of ours, as far as known.
    installed: BTreeMap<Target, SocketAddrV6>,
    /// When the kernel's table was read; `None` if it must be.
    audited: Option<Instant>,
    /// What the kernel refused, and which route (or none) there should be.
    refused: BTreeMap<Target, Option<SocketAddrV6>>,
    /// When the oldest of these was refused.
    refused_at: Option<Instant>,
    /// Why it did, as far as told.
    told: BTreeSet<io::ErrorKind>,
}

impl Kept {
    /// A table of which nothing is known yet.
    pub fn new(table: Box<dyn Table>, counters: Arc<Counters>) -> Kept {
        Kept {
            table,
            counters,
            installed: BTreeMap::new(),
            audited: None,
            refused: BTreeMap::new(),
            refused_at: None,
            told: BTreeSet::new(),
        }
    }

    /// Whether there are routes, or may be.
    pub fn is_busy(&self) -> bool {
        self.audited.is_none() || !self.installed.is_empty()
    }

    /// The table may be another than it was: it is read again, and everything tried again.
    pub fn look_again(&mut self) {
        self.audited = None;
        self.try_again();
    }

    /// Makes the routes of ours those that there should be.
    pub fn settle(&mut self, desired: &BTreeMap<Target, SocketAddrV6>) {
        if self.audited.is_some_and(|at| at.elapsed() >= AUDIT_EVERY) {
            self.audited = None;
        }
        if self.refused_at.is_some_and(|at| at.elapsed() >= RETRY_EVERY) {
            self.try_again();
        }
        if !self.audit() {
            return;
        }
        let gone = |target: &&Target| !desired.contains_key(*target);
        let gone: Vec<Target> = self.installed.keys().filter(gone).copied().collect();
        gone.into_iter().for_each(|target| self.change(target, None));
        for (target, via) in desired {
            if !self.installed.get(target).is_some_and(|have| is_same(*via, *have)) {
                self.change(*target, Some(*via));
            }
        }
        if self.refused.is_empty() {
            self.told.clear();
        }
    }

    fn try_again(&mut self) {
        self.refused.clear();
        self.refused_at = None;
    }

    /// Reads the kernel's table if that is due; whether what it holds is known.
    fn audit(&mut self) -> bool {
        if self.audited.is_some() {
            return true;
        }
        match self.table.list() {
            Ok(found) => {
                self.installed = found.into_iter().map(|r| ((r.prefix, r.len), r.via)).collect();
                self.audited = Some(Clock::mark());
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// Installs a route to `target`, or removes it; not if the kernel just refused that.
    fn change(&mut self, target: Target, via: Option<SocketAddrV6>) {
        if self.refused.get(&target) == Some(&via) {
            return;
        }
        let (prefix, len) = target;
        let outcome = match via {
            Some(via) => self.table.add(&Route6 { prefix, len, via }),
            None => self.table.remove(prefix, len),
        };
        if let Err(error) = outcome {
            self.refused.insert(target, via);
            self.refused_at.get_or_insert(Clock::mark());
            return self.failed(&error);
        }
        self.refused.remove(&target);
        match via {
            Some(via) => {
                tracing::debug!(prefix = %format_args!("{prefix}/{len}"), %via, "route installed");
                self.counters.routes_installed.add(1);
                self.installed.insert(target, via);
            }
            None => {
                tracing::debug!(prefix = %format_args!("{prefix}/{len}"), "route removed");
                self.counters.routes_removed.add(1);
                self.installed.remove(&target);
            }
        }
    }

    /// Counts a failure and tells it, if it is the first of its kind since all was well.
    fn failed(&mut self, error: &io::Error) {
        self.counters.routes_failed.add(1);
        if self.told.insert(error.kind()) {
            tracing::error!("{error}; trying again, and silent about more of the kind");
        }
    }
}

/// Whether the kernel's route is the one wanted, which need not name an interface.
fn is_same(wanted: SocketAddrV6, found: SocketAddrV6) -> bool {
    let anywhere = wanted.scope_id() == 0;
    wanted.ip() == found.ip() && (anywhere || wanted.scope_id() == found.scope_id())
}
