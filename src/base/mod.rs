//! Words that every other module uses: time, addresses, identities, names. Standard library only.

pub mod addr;
pub mod addr6;
pub mod ident;
pub mod name;
pub mod time;
pub mod within;

pub use addr::{HwAddr, LinkId, Mac, NetworkId, Prefix4, Range4, Resource, Sort};
pub use addr6::{Prefix6, Range6};
pub use ident::ClientKey;
pub use time::{Span, Timestamp};
pub use within::Within;
