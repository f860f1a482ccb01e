//! Words that every other module uses: time, addresses, identities, names. Standard library only.

pub mod addr;
pub mod ident;
pub mod name;
pub mod time;

pub use addr::{HwAddr, LinkId, Mac, NetworkId, Prefix4, Prefix6, Range4, Resource};
pub use ident::ClientKey;
pub use time::{Span, Timestamp};
