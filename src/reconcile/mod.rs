//! What answers on the wire, compared with what is bound: duplicate holders, squatters, standbys
//! that speak too early, servers that nobody knows.
//!
//! No socket, clock or randomness is in here: what was seen and what is known go in, questions to
//! ask and findings come out ([`Detector`]). What is known is a copy ([`Known`]), so that nothing
//! here can hold up a DHCP answer.
//!
//! Answers can be forged and addresses move, so what was heard is only a reason to ask. A *case*
//! ([`case`]) asks each MAC that spoke for an address by unicast, one after the other, and again a
//! second later: only who answered every time counts as a holder. An address that moved from one
//! to the other meanwhile has one holder left. With the case, a few addresses nearby that nobody
//! has are asked of the same MACs: who answers for those too is a proxy ([`speakers`]).
//!
//! | you look for | it is in |
//! | --- | --- |
//! | what a finding is | [`finding`] |
//! | what a set of holders means for an address | [`known`]: `Known::judge` |
//! | the order and rate of the sweep | [`sweep`] |
//! | frames to sightings and questions to frames | [`frames`] |
//!
//! Every table is bounded: a flood of forged answers costs memory up to the limits below, and what
//! did not fit is counted.

mod aging;
pub mod case;
pub mod detector;
pub mod finding;
pub mod frames;
pub mod known;
pub mod seen;
pub mod speakers;
pub mod sweep;

pub use detector::{Detector, Outcome, Settings};
pub use finding::{Evidence, Finding, Kind, Severity};
pub use known::{Allowed, Bound, Known, Pair};
pub use seen::{Ask, By, Heard, Server, Sighting};
