//! The unit as systemd judges it.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/foreshadow.service"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/foreshadow-agent.service"),
];

/// Exposure allowed, in tenths.
const EXPOSURE_MAX: u32 = 20;

fn systemd_analyze(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .expect("systemd-analyze is missing: install the Debian package systemd")
}

fn rated(unit: &Path) -> Output {
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    systemd_analyze(&["security", "--offline=true", &threshold, unit.to_str().unwrap()])
}

/// A copy of a unit with a change, in a directory of its own.
fn changed(original: &str, name: &str, change: impl Fn(String) -> String) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("foreshadow-unit-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let unit = dir.join(Path::new(original).file_name().unwrap());
    std::fs::write(&unit, change(std::fs::read_to_string(original).unwrap())).unwrap();
    unit
}

#[test]
fn the_units_are_hardened() {
    for unit in UNITS {
        let rating = rated(Path::new(unit));
        assert!(rating.status.success(), "{}", String::from_utf8_lossy(&rating.stdout));
        let open = changed(unit, "open", |unit| unit.replace("\nProtect", "\n#Protect"));
        assert!(!rated(&open).status.success(), "the threshold must be able to fail");
        std::fs::remove_dir_all(open.parent().unwrap()).unwrap();
    }
}

#[test]
fn the_units_have_no_unknown_directive() {
    let program = env!("CARGO_BIN_EXE_foreshadow");
    for unit in UNITS {
        let named = |text: String| text.replace("/usr/local/sbin/foreshadow", program);
        let unit = changed(unit, "verify", named);
        let verdict = systemd_analyze(&["verify", "--man=no", unit.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
        assert!(verdict.status.success(), "{said}");
        // Other units of this machine may be complained about too.
        let name = unit.file_name().unwrap().to_str().unwrap();
        assert!(!said.contains(name), "{said}");
        std::fs::remove_dir_all(unit.parent().unwrap()).unwrap();
    }
}
