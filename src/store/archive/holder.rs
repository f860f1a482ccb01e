//! Who had an address at some time.

use std::path::Path;

use crate::base::{NetworkId, Resource, Timestamp};
use crate::lease::{Cause, Change, Lease, State};
use crate::store::StoreError;

use super::{Backward, Entry, Forward};

/// What is known of an address at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The network.
    pub network: NetworkId,
    /// The binding then; `None` if nobody was known to have the address. One that is no lease
    /// (see [`State`]) says who had it last, or why nobody may.
    pub lease: Option<Lease>,
    /// Why it became so, where the archive says.
    pub cause: Option<Cause>,
    /// The audit record that says so.
    pub record: Option<u64>,
    /// When that ended, or will end unless it is renewed, where it is known.
    pub until: Option<Timestamp>,
}

impl Holding {
    /// Whether somebody had the address.
    pub fn is_held(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.state == State::Leased)
    }

    /// Whether somebody had it at `at` still: an end that nobody wrote down counts as well.
    pub fn is_held_at(&self, at: Timestamp) -> bool {
        self.is_held() && self.until.is_none_or(|until| at < until)
    }
}

/// Who had `resource` on each of `networks` at `at`. `present` is what the bindings say now, for
/// what is older than the archive.
pub fn who(
    dir: &Path,
    resource: Resource,
    networks: &[NetworkId],
    at: Timestamp,
    present: &[Lease],
) -> Result<Vec<Holding>, StoreError> {
    let mut open: Vec<NetworkId> = networks.to_vec();
    let mut found = Vec::new();
    let about = |entry: &Entry, open: &[NetworkId]| {
        entry.place().filter(|(network, of)| *of == resource && open.contains(network))
    };
    let mut back = Backward::within(dir, None, (Timestamp(0), at));
    while !open.is_empty() {
        let Some(entry) = back.read()? else { break };
        if let Some((network, _)) = about(&entry, &open).filter(|_| entry.at() <= at) {
            open.retain(|it| *it != network);
            found.push(stated(network, entry));
        }
    }
    // Older than the archive: the next change tells who had it since before.
    let mut on = Forward::within(dir, 1, (at, Timestamp::NEVER));
    while !open.is_empty() {
        let Some(entry) = on.read()? else { break };
        if let Some((network, _)) = about(&entry, &open).filter(|_| entry.at() > at) {
            open.retain(|it| *it != network);
            found.push(implied(network, &entry, at));
        }
    }
    for network in open {
        let binding = present.iter().find(|l| (l.network, l.resource) == (network, resource));
        let lease = binding.and_then(|lease| as_of(lease, at));
        found.push(Holding { network, lease, cause: None, record: None, until: None });
    }
    close(dir, resource, &mut found, present)?;
    Ok(found)
}

/// Finds out when each of `found` ended.
fn close(
    dir: &Path,
    resource: Resource,
    found: &mut [Holding],
    present: &[Lease],
) -> Result<(), StoreError> {
    let mut open = Vec::new();
    for holding in found.iter_mut() {
        let Some(lease) = &holding.lease else { continue };
        let same = |l: &&Lease| is_same(l, lease) && l.since == lease.since;
        let now = present.iter().find(same);
        holding.until = Some(now.unwrap_or(lease).until);
        // Renewals are not kept: what came next tells how long it was held.
        let record = holding.record.filter(|_| now.is_none() && holding.is_held());
        open.extend(record.map(|record| (record, holding)));
    }
    let Some(first) = open.iter().map(|(record, _)| *record).min() else { return Ok(()) };
    let mut on = Forward::from(dir, first);
    while !open.is_empty() {
        let Some(entry) = on.read()? else { break };
        open.retain_mut(|(record, holding)| {
            let about = entry.place() == Some((holding.network, resource));
            let over = about && entry.number >= *record && !goes_on(&entry, holding);
            if over {
                holding.until = Some(ended_by(&entry, holding));
            }
            !over
        });
    }
    Ok(())
}

/// Whether two bindings are of one resource and client, and both leases.
fn is_same(a: &Lease, b: &Lease) -> bool {
    let held = a.state == State::Leased && b.state == State::Leased;
    held && (a.network, a.resource, &a.client) == (b.network, b.resource, &b.client)
}

/// Whether a record says that who had it has it still.
fn goes_on(entry: &Entry, holding: &Holding) -> bool {
    match (&entry.change, &holding.lease) {
        (Change::Put(lease, _), Some(held)) => is_same(lease, held),
        _ => false,
    }
}

/// When a record says that a holding ended: at the end of the lease, where that came before.
fn ended_by(entry: &Entry, holding: &Holding) -> Timestamp {
    match (&entry.change, &holding.lease) {
        (Change::Put(lease, _), Some(held))
            if lease.client == held.client && lease.state.is_remembered() =>
        {
            lease.until
        }
        _ => entry.at(),
    }
}

/// What a record says holds from then on.
fn stated(network: NetworkId, entry: Entry) -> Holding {
    let record = Some(entry.number);
    match entry.change {
        Change::Put(lease, cause) => {
            Holding { network, lease: Some(lease), cause: Some(cause), record, until: None }
        }
        _ => Holding { network, lease: None, cause: None, record, until: None },
    }
}

/// What a later record says of the time before it.
fn implied(network: NetworkId, entry: &Entry, at: Timestamp) -> Holding {
    let lease = match &entry.change {
        Change::Put(lease, _) => as_of(lease, at),
        _ => None,
    };
    let record = lease.is_some().then_some(entry.number);
    Holding { network, lease, cause: None, record, until: None }
}

/// What a later binding says of an earlier time: its client had it since `since`.
fn as_of(lease: &Lease, at: Timestamp) -> Option<Lease> {
    let had = match lease.state {
        State::Leased => lease.since <= at,
        State::Expired | State::Released => lease.since <= at && at < lease.until,
        State::Shadow | State::Quarantined(_) => false,
    };
    had.then(|| Lease { state: State::Leased, ..lease.clone() })
}
