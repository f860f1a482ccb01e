//! Simulated power cuts: a process runs with every change to its files and every packet that it
//! sends recorded, and at many moments of its lives the files are rebuilt as a disk could have left
//! them. See `README.md` beside this file.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.
#![allow(clippy::print_stdout)] // The seed, and how to use it again.

mod archive;
mod clients4;
mod clients6;
// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod ledger;
mod model;
mod oracle;
mod recorder;
mod replay;
mod server;
mod store;

use std::path::{Path, PathBuf};

/// A directory of this test's own, on a real disk where there is one.
pub(crate) struct Work(pub(crate) PathBuf);

impl Work {
    pub(crate) fn new(name: &str) -> Work {
        let dir = format!("cut-{name}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        // Links would hide that a path is below it.
        Work(dir.canonicalize().unwrap())
    }
}

/// Kept after a failure, for whoever looks into it.
impl Drop for Work {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
