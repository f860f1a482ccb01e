//! What demand shadows would have done: an event log is played through the real engine on a virtual
//! clock, beside fixed warm pools.
//!
//! Pure but for the reader that it is given: [`log`] reads the events, [`world`] plays them,
//! [`fixed`] is what a pool of so many addresses an account would have done, [`report`] puts both
//! side by side, [`picture`] draws a day.

pub mod fixed;
pub mod log;
pub mod picture;
pub mod report;
pub mod world;
