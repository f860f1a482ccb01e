//! What the audit archive must hold after a power cut: the record of every change that is durable,
//! once each, under the number that it had, and none that never was.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use foreshadow::base::{NetworkId, Resource};
use foreshadow::lease::{Change, Lease, State};
use foreshadow::store::Contents;
use foreshadow::store::archive::{Entry, Forward};

use crate::ledger::Ledger;
use crate::oracle::{Oracle, belongs_to};

/// All that happened in the server's lives, as its archive had it at the end.
pub(crate) struct History(Vec<Entry>);

impl History {
    /// Reads the archive of the real disk, which lost nothing; and holds it against what the
    /// clients did.
    pub(crate) fn read(dir: &Path, ledger: &Ledger) -> Result<History, String> {
        let all = read(dir)?;
        let given_up = ledger.given_up.lock().unwrap();
        let given_up: HashSet<_> = given_up.iter().map(|g| (g.name.clone(), g.client)).collect();
        for entry in all.iter().filter(|e| ["released", "declined"].contains(&e.kind())) {
            let Change::Put(lease, _) = &entry.change else { continue };
            let name = lease.resource.to_string();
            let did = |(of, client): &(String, [u8; 6])| *of == name && belongs_to(lease, *client);
            if !given_up.iter().any(did) {
                return Err(format!("nobody did this: {entry:?}"));
            }
        }
        Ok(History(all))
    }

    /// Whether somebody was leased each of `acked`, by name and hardware address.
    pub(crate) fn tells_of(&self, acked: &BTreeSet<(String, [u8; 6])>) -> Result<(), String> {
        let mut leased: BTreeMap<String, Vec<&Lease>> = BTreeMap::new();
        for entry in &self.0 {
            if let Change::Put(lease, _) = &entry.change
                && lease.state == State::Leased
            {
                leased.entry(lease.resource.to_string()).or_default().push(lease);
            }
        }
        let untold = acked.iter().find(|(name, client)| {
            !leased.get(name).is_some_and(|all| all.iter().any(|l| belongs_to(l, *client)))
        });
        untold.map_or(Ok(()), |one| Err(format!("no audit record of a lease: {one:x?}")))
    }

    /// Whether the archive in `dir`, opened after a cut with what the store holds, is right.
    pub(crate) fn judge(
        &self,
        dir: &Path,
        contents: &Contents,
        at_us: u64,
        oracle: &Oracle,
    ) -> Result<(), String> {
        let kept = read(dir)?;
        // Only the last batch may have been on its way: it may have come to nothing later.
        let settled = |all: &[Entry]| all.partition_point(|entry| entry.seq < contents.seq.0);
        let (mine, theirs) = kept.split_at(settled(&kept));
        let known = &self.0[..settled(&self.0)];
        if let Some(at) = (0..known.len().max(mine.len())).find(|i| known.get(*i) != mine.get(*i)) {
            let (known, mine) = (known.get(at), mine.get(at));
            return Err(format!("audit record {}: {mine:?} instead of {known:?}", at + 1));
        }
        if let Some(entry) = theirs.iter().find(|entry| entry.seq > contents.seq.0) {
            return Err(format!("audit record of what is not durable: {entry:?}"));
        }
        agrees(&kept, contents)?;
        let last = last_of(&kept);
        for (name, promise) in oracle.alive(at_us) {
            let of = last.iter().find(|((_, resource), _)| resource.to_string() == *name);
            let told = of.and_then(|(_, lease)| *lease).is_some_and(|lease| {
                lease.state == State::Leased && belongs_to(lease, promise.client)
            });
            if !told {
                return Err(format!("no audit record says that {promise:x?} has {name}: {of:?}"));
            }
        }
        Ok(())
    }
}

/// All records, which must be numbered without gaps and each be there once.
fn read(dir: &Path) -> Result<Vec<Entry>, String> {
    let mut all: Vec<Entry> = Vec::new();
    let mut reader = Forward::from(dir, 1);
    while let Some(entry) = reader.read().map_err(|e| e.to_string())? {
        if entry.number != all.len() as u64 + 1 {
            return Err(format!("after {} audit records comes number {}", all.len(), entry.number));
        }
        all.push(entry);
    }
    let mut last: BTreeMap<(NetworkId, Resource), &Entry> = BTreeMap::new();
    for entry in &all {
        let before = entry.place().and_then(|place| last.insert(place, entry));
        if let Some(before) = before.filter(|before| before.change == entry.change) {
            return Err(format!("audit records {} and {} are one", before.number, entry.number));
        }
    }
    Ok(all)
}

/// What the last record about each address says.
fn last_of(all: &[Entry]) -> BTreeMap<(NetworkId, Resource), Option<&Lease>> {
    let mut last = BTreeMap::new();
    for entry in all {
        let lease = match &entry.change {
            Change::Put(lease, _) => Some(lease),
            _ => None,
        };
        entry.place().map(|place| last.insert(place, lease));
    }
    last
}

/// Whether the last record about each binding says what the store says.
fn agrees(all: &[Entry], contents: &Contents) -> Result<(), String> {
    let last = last_of(all);
    for lease in &contents.leases {
        let told = last.get(&(lease.network, lease.resource)).copied().flatten();
        if !told.is_some_and(|told| (told.state, &told.client) == (lease.state, &lease.client)) {
            return Err(format!("the last audit record says {told:?} of {lease:?}"));
        }
    }
    Ok(())
}
