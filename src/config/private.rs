//! Files that others on this machine should not be able to read.

use std::path::Path;

use super::fault::{Fault, FaultKind};
use super::policy::Policy;

/// What others may do with a file or directory: read it, or enter it.
const OTHERS: u32 = 0o005;

/// Private keys, and the state directory, that others may read; `mode` tells the permissions of
/// what is there.
pub fn check_private(policy: &Policy, mode: impl Fn(&Path) -> Option<u32>) -> Vec<Fault> {
    let key = policy.api.tls.as_ref().map(|tls| ("api.key", &tls.key, "640"));
    let agents = policy.agents.tls.as_ref().map(|tls| ("agents.key", &tls.key, "640"));
    let state = ("server.state_dir", &policy.server.state_dir, "750");
    let open = |path: &Path| mode(path).filter(|mode| mode & OTHERS != 0);
    let fault = |(key, path, want): (&str, &std::path::PathBuf, &str)| {
        let mode = open(path)? & 0o7777;
        let path = path.display();
        let message = format!("others on this machine can read {path}, whose mode is {mode:o}");
        let fault = Fault::unplaced(FaultKind::Suspicious, key, message);
        Some(fault.warning().expected(format!("chmod {want} {path}")))
    };
    key.into_iter().chain(agents).chain([state]).filter_map(fault).collect()
}
