//! Bindings: what they are, how they change, and every index by which they are found.
//!
//! [`table::LeaseTable`] holds what is durable (or about to be), [`offers::OfferTable`] what was
//! only promised, and [`pool::Pool`] what is free. The engine keeps the three in step: an address
//! of a pool is in exactly one of them.

pub mod binding;
pub mod census;
pub mod change;
pub mod delegation;
pub mod directory;
pub mod offers;
pub mod pool;
pub mod ranges;
pub mod score;
pub mod shadows;
pub mod shares;
pub mod table;

pub use binding::{
    Details, Drain, Foreseen, Foreseer, Lease, Mover, NextHop, QuarantineReason, State,
};
pub use census::Census;
pub use change::{Act, Cause, Change, Seq};
pub use delegation::PrefixPool;
pub use directory::{Directory, Held, Owner};
pub use offers::{Offer, OfferTable};
pub use pool::Pool;
pub use ranges::RangeSet;
pub use score::{Score, Uses};
pub use shadows::{Line, Shadows, Stocked};
pub use shares::{Hold, Share, Shares};
pub use table::{Counts, LeaseTable};
