//! What happened how often. A fault that was never injected, or a pair of state and message that
//! was never met, proves nothing: it fails the test.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) met: BTreeMap<(&'static str, &'static str), u64>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    pub(crate) fn met(&mut self, state: &'static str, message: &'static str) {
        *self.met.entry((state, message)).or_default() += 1;
    }

    pub(crate) fn seen(&mut self, name: &'static str) {
        *self.seen.entry(name).or_default() += 1;
    }

    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Tally) {
        other.faults.iter().for_each(|(k, n)| *self.faults.entry(k).or_default() += n);
        other.met.iter().for_each(|(k, n)| *self.met.entry(*k).or_default() += n);
        other.seen.iter().for_each(|(k, n)| *self.seen.entry(k).or_default() += n);
    }

    /// What of these was never there.
    pub(crate) fn missing(
        &self,
        faults: &[&'static str],
        pairs: impl Iterator<Item = (&'static str, &'static str)>,
    ) -> Vec<String> {
        let met = |name: &str| self.faults.contains_key(name) || self.seen.contains_key(name);
        let never = faults.iter().filter(|name| !met(name));
        let never = never.map(|name| (*name).to_owned());
        let unmet = pairs.filter(|pair| !self.met.contains_key(pair));
        never.chain(unmet.map(|(state, message)| format!("{message} while {state}"))).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "faults:")?;
        self.faults.iter().try_for_each(|(name, n)| writeln!(f, "  {n:>9} {name}"))?;
        writeln!(f, "seen:")?;
        self.seen.iter().try_for_each(|(name, n)| writeln!(f, "  {n:>9} {name}"))?;
        let mut messages: Vec<_> = self.met.keys().map(|(_, message)| *message).collect();
        messages.sort_unstable();
        messages.dedup();
        let mut states: Vec<_> = self.met.keys().map(|(state, _)| *state).collect();
        states.dedup();
        for message in messages {
            write!(f, "{message:>12}:")?;
            for state in &states {
                let n = self.met.get(&(*state, message)).copied().unwrap_or(0);
                write!(f, " {state} {n},")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
