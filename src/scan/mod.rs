//! Asks a link and listens.
