//! Options as the file names them, encoded as they stand on the wire.

mod define;
#[cfg(test)]
mod oracle;
pub(super) mod registry;
mod set;
pub(super) mod types;
mod value;
mod vendor;

pub(super) use define::Definitions;
pub(super) use set::read;
