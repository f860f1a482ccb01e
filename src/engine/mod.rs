//! The server's mind: given a moment and what happened, it says what to do. No IO, no clock.

pub mod effects;

pub use effects::{Arrival, Destination, Effects, Input, Reply};
