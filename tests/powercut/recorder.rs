//! The recorder, a program in C: it runs another program and logs what that does.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the recorder in `work` and returns its path.
pub(crate) fn build(work: &Path) -> PathBuf {
    compile(work, "recorder")
}

/// Builds `tests/powercut/<name>.c` in `work` and returns the path of the program.
pub(crate) fn compile(work: &Path, name: &str) -> PathBuf {
    let program = work.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/powercut/{name}.c"));
    let status = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .args([&program, &source])
        .status()
        .expect("cc must be there: install the Debian package gcc");
    assert!(status.success(), "cc failed: are gcc and libc6-dev installed?");
    program
}
