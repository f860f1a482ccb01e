//! A child process whose output is a file that can be waited on.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{PATIENCE, wait_for};

/// A child process; it and its process group end when dropped.
pub(crate) struct Proc {
    child: Child,
    log: PathBuf,
    from: usize,
}

impl Proc {
    /// Starts `command` in a process group of its own; its output is appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Proc {
        let out = File::options().create(true).append(true).open(log).unwrap();
        let from = out.metadata().unwrap().len() as usize;
        let errors = out.try_clone().unwrap();
        command.stdout(out).stderr(errors).stdin(Stdio::null()).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        Proc { child, log: log.to_owned(), from }
    }

    /// Its process id (`ip netns exec` becomes the program it starts).
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written since it started.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn wait_line(&mut self, text: &str) -> String {
        self.wait_line_for(text, PATIENCE)
    }

    /// The same, with a patience of the caller's.
    #[track_caller]
    pub(crate) fn wait_line_for(&mut self, text: &str, patience: Duration) -> String {
        wait_for(&format!("line with {text:?}"), patience, || {
            let output = self.output();
            if let Some(line) = output.lines().find(|line| line.contains(text)) {
                return Some(line.to_owned());
            }
            if let Some(status) = self.ended() {
                panic!("ended with {status} before it wrote {text:?}:\n{output}");
            }
            None
        })
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        wait_for("end of process", PATIENCE, || self.ended())
    }

    /// Sends a signal to the process, not to its children.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).ok();
    }

    /// Asks it to end and waits for that.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        drop(self.child.wait());
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill9();
        }
    }
}

/// kill -9 of one process by its id.
pub(crate) fn kill_pid(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 1) {
        kill_process(pid, Signal::KILL).ok();
    }
}
