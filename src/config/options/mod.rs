//! Options as the file names them, encoded as they stand on the wire.

mod define;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod oracle6;
pub(super) mod registry;
pub(super) mod registry6;
mod set;
pub(super) mod types;
mod value;
mod vendor;

pub(super) use define::Definitions;
pub(super) use set::{boot_params, read, read6};
