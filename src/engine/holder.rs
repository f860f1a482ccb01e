//! Who has what somebody else asks for.

use std::fmt;
use std::sync::Arc;

use crate::lease::Lease;
use crate::lease::directory::{Kept, Standby};

/// Who has an identifier or an address that is taken. It shows as people read it, after `is`; what
/// is [`Holder::Somebody`]'s is for their own account alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody that has a name.
    Nobody(&'static str),
    /// Somebody.
    Somebody {
        /// In words.
        who: String,
        /// Whom they belong to.
        account: Option<Arc<str>>,
    },
}

impl Holder {
    /// Who has what is kept.
    pub(super) fn of_kept(kept: &Kept) -> Holder {
        let who = match kept.instance.as_deref() {
            Some(id) => format!("of instance \"{id}\""),
            None => "reserved at run time".into(),
        };
        Holder::Somebody { who, account: kept.settings.account.clone() }
    }

    /// Two that share it, or one of them.
    pub(super) fn of_pair(pair: &Standby) -> Holder {
        let who = format!("of the pair of standby \"{}\"", pair.id);
        Holder::Somebody { who, account: pair.account.clone() }
    }

    /// A client that it is leased to.
    pub(super) fn of_lease(lease: &Lease) -> Holder {
        let who = format!("leased to {}", lease.hw);
        Holder::Somebody { who, account: lease.details.account.clone() }
    }

    /// For whom the configuration reserves it.
    pub(super) fn configured(name: &str) -> Holder {
        let who = format!("reserved in the configuration file for {name}");
        Holder::Somebody { who, account: None }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Nobody(why) => f.write_str(why),
            Holder::Somebody { who, .. } => f.write_str(who),
        }
    }
}
