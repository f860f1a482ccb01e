//! Demand shadows: addresses that are held for an account before its instances exist.
//!
//! A shadow is a durable binding without a client ([`State::Shadow`]). [`claim`] gives it to an
//! instance of its owner, or to whoever else needs it when nothing else is free; [`hold`] makes
//! shadows and gives them back; [`plan`] says how many each owner is to have; [`prove`] keeps
//! asking the wire whether their addresses are free; [`former`] knows which ones an owner had before;
//! [`tally`] counts what came of them.

pub mod claim;
pub mod former;
pub mod hold;
pub mod plan;
pub mod prove;
pub mod tally;

use std::sync::Arc;

use crate::base::{NetworkId, Sort};
use crate::config::policy::ShadowTerms;
use crate::lease::{Line, Owner};

use super::Engine;

pub use claim::Claimed;
pub use former::Former;
pub use hold::{Reserve, ShadowDenied};
pub use plan::{Plans, Prediction, Wanted};
pub use prove::Reproofs;
pub use tally::{Tallies, Tally};

/// The families of which addresses are held: prefixes are not.
pub const SORTS: [Sort; 2] = [Sort::V4, Sort::V6];

/// The lines that an owner's instances may claim from: its application's own, then its account's.
pub fn lines(network: NetworkId, sort: Sort, owner: &Owner) -> impl Iterator<Item = Line> + use<> {
    let of = |owner| Line { network, sort, owner };
    let application = owner.1.is_some().then(|| of(owner.clone()));
    application.into_iter().chain([of((Arc::clone(&owner.0), None))])
}

/// Whether instances of `owner` may claim shadows of `of`.
pub(super) fn is_for(of: &Owner, owner: &Owner) -> bool {
    of.0 == owner.0 && (of.1.is_none() || of.1 == owner.1)
}

impl Engine {
    /// What an account or application says of its shadows.
    pub(super) fn shadow_terms(&self, owner: &Owner) -> Option<&ShadowTerms> {
        let accounts = self.directory.accounts();
        let (account, application) = accounts.terms(&owner.0, owner.1.as_deref());
        let terms = if owner.1.is_some() { application } else { account };
        terms.map(|terms| &terms.shadow)
    }
}
