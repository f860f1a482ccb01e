//! The accounts that there are: those of the configuration, and those made at run time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::config::policy::{Account, Application, Terms};

use super::Entry;

/// All accounts, by name.
#[derive(Debug, Default)]
pub struct Accounts {
    declared: HashMap<Arc<str>, Arc<Account>>,
    made: BTreeMap<Arc<str>, Arc<Account>>,
    applications: BTreeMap<(Arc<str>, Arc<str>), Arc<Application>>,
    /// Each account with all its applications.
    merged: BTreeMap<Arc<str>, Standing>,
}

/// An account as it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it is, all its applications included.
    pub account: Arc<Account>,
    /// The configuration says so; it cannot be changed at run time.
    pub is_declared: bool,
}

impl Accounts {
    /// The account of that name.
    pub fn get(&self, name: &str) -> Option<&Standing> {
        self.merged.get(name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.merged.values()
    }

    /// Those whose names come after this one.
    pub fn after<'a>(&'a self, name: Option<&str>) -> impl Iterator<Item = &'a Standing> + 'a {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.merged.range::<str, _>((from, Bound::Unbounded)).map(|(_, standing)| standing)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.merged.len()
    }

    /// Whether there are none, so that nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.merged.is_empty()
    }

    /// What holds for an account and what holds for one of its applications.
    pub fn terms<'a>(
        &'a self,
        account: &str,
        application: Option<&str>,
    ) -> (Option<&'a Terms>, Option<&'a Terms>) {
        let Some(standing) = self.get(account) else { return (None, None) };
        let of = application.and_then(|name| standing.account.application(name));
        (Some(&standing.account.terms), of.map(|of| &of.terms))
    }

    /// Whether an application was declared by the configuration.
    pub fn declares(&self, account: &str, application: &str) -> bool {
        self.declared.get(account).is_some_and(|a| a.application(application).is_some())
    }

    pub(super) fn declare(&mut self, accounts: &[Arc<Account>]) {
        self.declared = accounts.iter().map(|a| (Arc::clone(&a.name), Arc::clone(a))).collect();
        let names: Vec<Arc<str>> = self
            .merged
            .keys()
            .chain(self.declared.keys())
            .chain(self.made.keys())
            .cloned()
            .collect();
        names.iter().for_each(|name| self.merge(name));
    }

    pub(super) fn link(&mut self, entry: &Entry) {
        match entry {
            Entry::Account(account) => {
                self.made.insert(Arc::clone(&account.name), Arc::clone(account));
                self.merge(&account.name);
            }
            Entry::Application(account, application) => {
                let key = (Arc::clone(account), Arc::clone(&application.name));
                self.applications.insert(key, Arc::clone(application));
                self.merge(account);
            }
            Entry::Instance(_) | Entry::Host(_) | Entry::Foresight(_) | Entry::Standby(_) => {}
        }
    }

    pub(super) fn unlink(&mut self, entry: &Entry) {
        match entry {
            Entry::Account(account) => {
                self.made.remove(&account.name);
                self.merge(&account.name);
            }
            Entry::Application(account, application) => {
                self.applications.remove(&(Arc::clone(account), Arc::clone(&application.name)));
                self.merge(account);
            }
            Entry::Instance(_) | Entry::Host(_) | Entry::Foresight(_) | Entry::Standby(_) => {}
        }
    }

    /// Puts an account together: the configuration's word counts, and what was made adds to it.
    fn merge(&mut self, name: &Arc<str>) {
        let declared = self.declared.get(name);
        let Some(base) = declared.or_else(|| self.made.get(name)) else {
            self.merged.remove(name);
            return;
        };
        let is_declared = declared.is_some();
        let from = (Arc::clone(name), Arc::from(""));
        let mut made = self.applications.range(from..).take_while(|((of, _), _)| of == name);
        let known = |application: &Application| base.application(&application.name).is_some();
        let more: Vec<Application> =
            made.by_ref().filter(|(_, a)| !known(a)).map(|(_, a)| (**a).clone()).collect();
        let account = match more.is_empty() {
            true => Arc::clone(base),
            false => {
                let mut whole = (**base).clone();
                whole.applications.extend(more);
                whole.applications.sort_by(|a, b| a.name.cmp(&b.name));
                Arc::new(whole)
            }
        };
        self.merged.insert(Arc::clone(name), Standing { account, is_declared });
    }
}
