//! One TOML file: read as written ([`raw`]), checked whole ([`check`]), frozen as a [`policy`].

pub mod policy;

pub use policy::Policy;
