//! Accounts and applications made at run time, beside those of the configuration file.

use std::sync::Arc;

use crate::config::policy::{ACCOUNTS_MAX, APPLICATIONS_MAX, Account, Application};
use crate::lease::Held;
use crate::lease::directory::{Entry, account_name, application_name};

use super::Engine;
use super::effects::Effects;
use super::instances::Denied;

impl Engine {
    /// Makes an account, or puts another in its place, as part of the open batch; its applications
    /// stay. Whether it was made now.
    pub fn put_account(&mut self, account: Account, fx: &mut Effects) -> Result<bool, Denied> {
        let known = self.directory.accounts().get(&account.name);
        if known.is_some_and(|standing| standing.is_declared) {
            return Err(Denied::ReadOnly(format!("account \"{}\"", account.name)));
        }
        let new = known.is_none();
        self.check_may_write()?;
        if new && self.directory.accounts().len() >= ACCOUNTS_MAX {
            return Err(Denied::InUse(format!("there are {ACCOUNTS_MAX} accounts, and no more")));
        }
        if let Some(id) = account.networks.iter().find(|id| self.net_index(**id).is_none()) {
            return Err(Denied::Invalid("networks", format!("no such network: {:08x}", id.0)));
        }
        let account = Account { applications: Vec::new(), ..account };
        self.enter(Entry::Account(Arc::new(account)), fx);
        self.rank_pools();
        Ok(new)
    }

    /// Removes an account and its applications, as part of the open batch, if nothing is left of it.
    pub fn remove_account(&mut self, name: &str, fx: &mut Effects) -> Result<Arc<Account>, Denied> {
        let unknown = || Denied::Unknown(format!("no account is called \"{name}\""));
        let standing = self.directory.accounts().get(name).ok_or_else(unknown)?;
        if standing.is_declared {
            return Err(Denied::ReadOnly(format!("account \"{name}\"")));
        }
        let account = Arc::clone(&standing.account);
        self.check_empty(&account.name, None)?;
        self.check_store()?;
        for application in &account.applications {
            let entry = application_name(name, &application.name);
            self.directory.remove(self.seq, &entry, &mut fx.changes);
        }
        self.directory.remove(self.seq, &account_name(name), &mut fx.changes);
        self.dirty = true;
        self.rank_pools();
        Ok(account)
    }

    /// Makes an application of an account, or puts another in its place, as part of the open batch;
    /// whether it was made now.
    pub fn put_application(
        &mut self,
        account: &str,
        application: Application,
        fx: &mut Effects,
    ) -> Result<bool, Denied> {
        let unknown = || Denied::Unknown(format!("no account is called \"{account}\""));
        let accounts = self.directory.accounts();
        let standing = accounts.get(account).ok_or_else(unknown)?;
        if accounts.declares(account, &application.name) {
            let name = format!("application \"{account}/{}\"", application.name);
            return Err(Denied::ReadOnly(name));
        }
        let new = standing.account.application(&application.name).is_none();
        if new && standing.account.applications.len() >= APPLICATIONS_MAX {
            let why = format!("there are {APPLICATIONS_MAX} applications, and no more");
            return Err(Denied::InUse(why));
        }
        let account = Arc::clone(&standing.account.name);
        self.check_may_write()?;
        self.enter(Entry::Application(account, Arc::new(application)), fx);
        self.rank_pools();
        Ok(new)
    }

    /// Removes an application, as part of the open batch, if nothing is left of it.
    pub fn remove_application(
        &mut self,
        account: &str,
        name: &str,
        fx: &mut Effects,
    ) -> Result<(), Denied> {
        let unknown = || Denied::Unknown(format!("no application is called \"{account}/{name}\""));
        let accounts = self.directory.accounts();
        let standing = accounts.get(account).ok_or_else(unknown)?;
        standing.account.application(name).ok_or_else(unknown)?;
        if accounts.declares(account, name) {
            return Err(Denied::ReadOnly(format!("application \"{account}/{name}\"")));
        }
        let of = Arc::clone(&standing.account.name);
        self.check_empty(&of, Some(name.into()))?;
        self.check_store()?;
        self.dirty = true;
        self.directory.remove(self.seq, &application_name(account, name), &mut fx.changes);
        self.rank_pools();
        Ok(())
    }

    /// Whether nothing belongs to an account or application any more.
    fn check_empty(&self, account: &Arc<str>, application: Option<Arc<str>>) -> Result<(), Denied> {
        let owner = (Arc::clone(account), application);
        let (members, held) = (self.directory.members(&owner), self.table.held_by(&owner));
        if members == 0 && held == Held::default() {
            return Ok(());
        }
        let Held { addresses, prefixes } = held;
        Err(Denied::InUse(format!(
            "it has {members} instances and reservations, {addresses} addresses and {prefixes} \
             prefixes: end them first"
        )))
    }
}
