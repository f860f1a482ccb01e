//! Packets in files, each with the reading that is expected of it.
//!
//! A file holds bytes as pairs of hexadecimal digits (`00*64` repeats one; `#` starts a comment),
//! then a line `---`, then the reading, line by line. To add a packet, write the bytes and `---`,
//! run the test, and check what it says was read.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Checks every file of `dir`, of which there are at least `least`.
pub(crate) fn check(dir: &str, least: usize, reading: impl Fn(&[u8]) -> String) {
    let mut wrong = String::new();
    let files = packet_files(dir);
    assert!(files.len() >= least, "only {} packets found", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (hex, want) = text.split_once("---\n").unwrap();
        let got = reading(&bytes(hex));
        if got != want {
            writeln!(wrong, "== {}\nwant:\n{want}\ngot:\n{got}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn packet_files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "hex"));
    files.sort();
    files
}

fn bytes(hex: &str) -> Vec<u8> {
    let code = hex.lines().flat_map(|line| line.split('#').next());
    code.flat_map(str::split_whitespace)
        .flat_map(|token| {
            let (byte, count) = token.split_once('*').unwrap_or((token, "1"));
            std::iter::repeat_n(u8::from_str_radix(byte, 16).unwrap(), count.parse().unwrap())
        })
        .collect()
}

/// Bytes as pairs of digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if pairs.is_empty() { "(empty)".into() } else { pairs.join(" ") }
}
