//! How a command ends.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The exit codes, as scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for could not be done.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration has faults.
    Config = 3,
    /// The server is not running, or may not be spoken to, and the command needs it.
    Unreachable = 4,
    /// The store is damaged, or of a newer version.
    Store = 5,
    /// There is no such lease, network or name.
    NotFound = 6,
    /// A scan found conflicts.
    Conflict = 7,
}

impl Exit {
    /// All of them but success (0), with what they mean; the help text and the manual list these.
    pub const ALL: &'static [(Exit, &'static str)] = &[
        (Exit::Failed, "what was asked for could not be done"),
        (Exit::Usage, "the command line makes no sense"),
        (Exit::Config, "the configuration has faults"),
        (Exit::Unreachable, "the server cannot be reached, and the command needs it"),
        (Exit::Store, "the store is damaged, or was written by a newer version"),
        (Exit::NotFound, "there is no such lease, network or name"),
        (Exit::Conflict, "the scan found conflicts"),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// The reason, with its causes; printed as it is if `drawn`.
    pub error: anyhow::Error,
    /// The text is already laid out for people (faults drawn at their lines).
    pub drawn: bool,
}

impl Failure {
    /// A failure with its own code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into(), drawn: false }
    }

    /// A failure in words.
    pub fn says(exit: Exit, text: impl fmt::Display) -> Failure {
        Failure::new(exit, anyhow::anyhow!("{text}"))
    }

    /// Whether the reader of our output went away, which is no fault.
    pub fn is_broken_pipe(&self) -> bool {
        self.error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// `what: its cause: ...`, where a cause that was named already is not named again; or the text
/// as drawn.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.error.to_string();
        write!(f, "{said}")?;
        for cause in self.error.chain().skip(1).filter(|_| !self.drawn) {
            let cause = cause.to_string();
            if !said.ends_with(&cause) {
                write!(f, ": {cause}")?;
                said = cause;
            }
        }
        Ok(())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure { exit: Exit::Failed, error, drawn: false }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("open /x: {source}")]
        struct Open {
            source: io::Error,
        }
        let inner = || Open { source: io::Error::other("no such device") };
        let failure = Failure::new(Exit::Failed, anyhow::Error::new(inner()).context("backup"));
        assert_eq!(failure.to_string(), "backup: open /x: no such device");
        assert_eq!(Failure::new(Exit::Failed, inner()).to_string(), "open /x: no such device");
    }
}
