//! Processes by descriptors that become readable when they end (`pidfd_open(2)`).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::watch::Process;

use super::RefusedWatch;

/// A descriptor of a process that runs.
pub(super) fn open(process: &Process) -> Result<OwnedFd, RefusedWatch> {
    match process {
        Process::Pid(pid) => open_pid(*pid),
        Process::PidFile(path) => {
            let pid = read_pid(path)?;
            let opened = open_pid(pid)?;
            // Not another that took over its number between the two.
            match read_pid(path)? == pid {
                true => Ok(opened),
                false => Err(RefusedWatch::PidFile(path.clone(), "it changes".to_owned())),
            }
        }
    }
}

fn open_pid(pid: u32) -> Result<OwnedFd, RefusedWatch> {
    let named = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let named = named.ok_or(RefusedWatch::NoProcess(pid))?;
    pidfd_open(named, PidfdFlags::empty()).map_err(|e| match e {
        rustix::io::Errno::SRCH | rustix::io::Errno::INVAL => RefusedWatch::NoProcess(pid),
        e => RefusedWatch::Io(io::Error::from(e).to_string()),
    })
}

fn read_pid(path: &Path) -> Result<u32, RefusedWatch> {
    let refuse = |why: String| RefusedWatch::PidFile(path.to_owned(), why);
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    text.trim().parse().map_err(|_| refuse(format!("want a process id, got {:.20?}", text.trim())))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn processes_that_are_not_there_are_refused() {
        assert!(open(&Process::Pid(std::process::id())).is_ok());
        for pid in [0, i32::MAX as u32, u32::MAX] {
            assert!(
                matches!(open(&Process::Pid(pid)), Err(RefusedWatch::NoProcess(p)) if p == pid)
            );
        }
        let absent = PathBuf::from("/nonexistent/a.pid");
        assert!(matches!(open(&Process::PidFile(absent)), Err(RefusedWatch::PidFile(..))));
    }

    #[test]
    fn pid_files_are_read_as_they_are_written() {
        let path = std::env::temp_dir().join(format!("foreshadow-pid-{}", std::process::id()));
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            open(&Process::PidFile(path.clone()))
        };
        let own = std::process::id();
        // libvirt writes no line end, QEMU does.
        assert!(of(&format!("{own}")).is_ok());
        assert!(of(&format!("{own}\n")).is_ok());
        for text in ["", "\n", "-1", "12 13", "pid"] {
            assert!(matches!(of(text), Err(RefusedWatch::PidFile(..))), "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
