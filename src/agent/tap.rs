//! The process that has a tap: its end is the end of the guest.

use std::fs;

/// Most processes that are looked at.
const PROCESSES_MAX: usize = 65_536;

/// The process that holds this tap open, where this one may know: the kernel says so in the fdinfo
/// of its descriptors. `None` if there is none, or it is another user's.
pub(super) fn process_of(name: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| holds(*pid, name))
}

fn holds(pid: u32, name: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| {
        let is_tun = fs::read_link(entry.path()).is_ok_and(|to| to.ends_with("net/tun"));
        is_tun && {
            let number = entry.file_name();
            let info = format!("/proc/{pid}/fdinfo/{}", number.to_string_lossy());
            fs::read_to_string(info).is_ok_and(|text| names(&text, name))
        }
    })
}

fn names(fdinfo: &str, tap: &str) -> bool {
    fdinfo.lines().any(|line| line.strip_prefix("iff:").is_some_and(|found| found.trim() == tap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_is_named_by_its_descriptor() {
        let info = "pos:\t88\nflags:\t0104002\nmnt_id:\t24\niff:\ttap1\n";
        assert!(names(info, "tap1"));
        assert!(!names(info, "tap") && !names("pos:\t88\n", "tap1"));
    }
}
