//! Who calls, and what they may see and do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::base::Timestamp;

use super::command::Refusal;
use super::problem::Problem;

pub use crate::config::policy::Role;

/// Whose leases and instances a caller sees and changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    #[default]
    All,
    /// Those of these accounts.
    Accounts(Arc<[Arc<str>]>),
}

impl Scope {
    /// Of the accounts that a token or certificate names; all, where it names none.
    pub fn of(accounts: &[Arc<str>]) -> Scope {
        if accounts.is_empty() { Scope::All } else { Scope::Accounts(accounts.into()) }
    }

    /// Whether something of `account`, or of nobody, is inside.
    pub fn holds(&self, account: Option<&str>) -> bool {
        match self {
            Scope::All => true,
            Scope::Accounts(accounts) => {
                account.is_some_and(|account| accounts.iter().any(|one| **one == *account))
            }
        }
    }

    /// The accounts, where it is not all of them.
    pub fn accounts(&self) -> Option<&[Arc<str>]> {
        match self {
            Scope::All => None,
            Scope::Accounts(accounts) => Some(accounts),
        }
    }
}

/// Who sent a request, once that is known. An extractor: it is there in every route that is not
/// public.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Unique, and fit for logs and the audit: `user root`, `token grafana`,
    /// `certificate orchestrator`.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// With whose leases and instances.
    pub scope: Scope,
    /// When their token was made, for one that was made at run time: another of its name is
    /// somebody else.
    pub since: Option<Timestamp>,
}

impl Caller {
    /// Lets those go on who may do what needs `role`.
    pub fn allow(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        let (name, may, needed) = (&self.name, self.role.name(), role.name());
        let mut why = format!("{name} may {may}; this needs the role {needed}");
        if name.starts_with("user ") {
            why += ", which root and the server's group have";
        }
        Err(Refusal::Forbidden(why).into())
    }

    /// Lets those go on whose scope has `account`. For what a request names; what is merely not
    /// theirs is left out of answers, see [`Scope::holds`].
    pub fn allow_account(&self, account: Option<&str>) -> Result<(), Problem> {
        if self.scope.holds(account) {
            return Ok(());
        }
        let what = account.map_or("what has no account".into(), |name| format!("account `{name}`"));
        Err(Refusal::Forbidden(format!("{} has no right to {what}", self.name)).into())
    }

    /// Lets those go on who are bound to no account, for what concerns all of them.
    pub fn allow_everything(&self) -> Result<(), Problem> {
        match self.scope {
            Scope::All => Ok(()),
            Scope::Accounts(_) => {
                let why = format!("{} is bound to accounts; this concerns all of them", self.name);
                Err(Refusal::Forbidden(why).into())
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(unknown)
    }
}

/// Nobody that is known.
pub(super) fn unknown() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "want a bearer token, or a certificate that is known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_its_accounts_and_nothing_that_is_nobodys() {
        let scope = Scope::of(&["acme".into(), "beta".into()]);
        assert!(scope.holds(Some("beta")));
        assert!(!scope.holds(Some("Acme")));
        assert!(!scope.holds(None));
        assert!(Scope::of(&[]).holds(None));
    }

    #[test]
    fn a_role_includes_those_below_it() {
        let caller =
            Caller { name: "x".into(), role: Role::Operate, scope: Scope::All, since: None };
        assert!(caller.allow(Role::Read).is_ok() && caller.allow(Role::Operate).is_ok());
        assert_eq!(caller.allow(Role::Admin).unwrap_err().status, StatusCode::FORBIDDEN);
    }
}
