//! One durable fact: what the lease table returns for each write, and the store keeps.

use crate::base::{NetworkId, Resource};

use super::Lease;

/// The number of a commit batch. Batches become durable in this order, and fail from one number on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The batch after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// A durable fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The whole new state of a binding; never an offer.
    Put(Lease),
    /// The binding of this resource is forgotten.
    Remove(NetworkId, Resource),
    /// A small fact about the server itself, by name (a network's name, the clock).
    Meta(Box<str>, Box<[u8]>),
}
