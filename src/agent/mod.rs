//! The agent: what changes a host's network for a switchover, and nothing else does.
//!
//! One runs on every host, the server's own included; it alone holds `CAP_NET_ADMIN`. It is told
//! in a closed set of [`verb`]s, by a Unix socket on its own host ([`listen`], [`client`]), what a
//! pair of guests with one address is to be there: a [`Hold`]. It brings the gate, the forwarding
//! database, its own neighbour table and the neighbours of the segment to that ([`Host`]), and
//! keeps what it holds in a file of its own ([`keep`]), so that a restart of it, of the server, or
//! of both changes nothing.
//!
//! Each hold has an **epoch**, which rises with each switchover of its pair: whoever comes with an
//! older one was overtaken, and is refused. A hold that is told again is brought about again: each
//! step leaves what is done as it is. Beside pairs it is told which [`ports`] are guarded, and what
//! each of them may say; there a **generation** is what an epoch is to a pair.

pub mod check;
pub mod client;
pub mod guard;
pub mod hold;
pub mod host;
pub mod keep;
mod learn;
pub mod listen;
pub mod ports;
mod refusal;
mod tap;
mod tell;
pub mod tls;
pub mod verb;

pub use crate::switchover::Stage;
pub use hold::{Faulty, Hold, Holder};
pub use host::Host;
pub use refusal::HostError;
