//! What the server may do, and no more.
//!
//! | capability | for |
//! | --- | --- |
//! | CAP_NET_RAW | packet sockets on the served interfaces, and UDP sockets bound to one |
//! | CAP_NET_BIND_SERVICE | port 67 |
//! | CAP_NET_ADMIN | receive buffers above the system's limit (`SO_RCVBUFFORCE`), if granted; routes to delegated prefixes, where `install_route` asks for them |
//!
//! systemd grants them to the unit's own user. A server that is started as root keeps these and
//! gives up every other one, and whatever it would execute gains none (no_new_privs).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

use crate::api::peer::{Peer, user_name};
use crate::base::Prefix6;
use crate::config::Policy;

/// Without these the server cannot work.
const NEEDED: CapabilitySet = CapabilitySet::NET_RAW.union(CapabilitySet::NET_BIND_SERVICE);
/// These help, where they are granted.
const USEFUL: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Without these an agent cannot work.
const AGENT: CapabilitySet = CapabilitySet::NET_RAW.union(CapabilitySet::NET_ADMIN);

/// Gives up all that the server does not need. Capabilities belong to threads: call this before
/// the first one is started.
pub fn drop_privileges() -> io::Result<()> {
    keep_only(NEEDED | USEFUL)
}

/// The same for an agent.
pub fn drop_privileges_of_agent() -> io::Result<()> {
    keep_only(AGENT)
}

fn keep_only(wanted: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    let kept = held.permitted & wanted;
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    // The unit grants no more than is kept, and forbids the system call.
    if held.permitted != kept {
        let inheritable = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    }
    Ok(())
}

/// Gives up all that the calling thread may do beyond others, for threads that run programs and
/// speak to strangers.
pub fn drop_all() {
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // The unit forbids the system call; there nothing is handed on to programs as it is.
    if let Err(error) = set_capabilities(None, none) {
        tracing::debug!("capabilities of a thread: {error}");
    }
}

/// Which capabilities are missing, in one message that says what to do about it; `None` if none.
pub fn missing() -> Option<String> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    message(NEEDED - held)
}

/// What to do where `policy` wants routes that this process may not make; `None` if it may, or
/// wants none.
pub fn missing_for_routes(policy: &Policy) -> Option<String> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let (network, pool) = policy.routed().next()?;
    (!held.contains(CapabilitySet::NET_ADMIN)).then(|| no_routes(&network.name, pool.prefix))
}

fn no_routes(network: &str, delegation: Prefix6) -> String {
    format!(
        "network `{network}`, delegation {delegation}: `install_route` needs CAP_NET_ADMIN, which \
         this server does not have: leave the key out, or grant it: under systemd by `systemctl \
         edit foreshadow` with the lines `[Service]`, `AmbientCapabilities=CAP_NET_ADMIN` and \
         `CapabilityBoundingSet=CAP_NET_ADMIN`, else by a start as root or after `setcap \
         cap_net_bind_service,cap_net_raw,cap_net_admin=ep` on the program"
    )
}

/// Why the system refused a socket: [`missing`], or what it said.
pub fn explain(what: &str, error: &io::Error) -> String {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    match missing().filter(|_| denied) {
        Some(missing) => format!("{what}: {missing}"),
        None => format!("{what}: {error}"),
    }
}

/// What the system said when `path` could not be written; where it belongs to somebody else, whose
/// it is and what to do about it.
pub fn explain_path(what: &str, path: &Path, error: &io::Error) -> String {
    let plain = format!("{what} {}: {error}", path.display());
    let Some((place, owner)) = owner(path) else { return plain };
    let us = Peer::own().map_or(owner, |own| own.uid);
    if error.kind() != io::ErrorKind::PermissionDenied || owner == us {
        return plain;
    }
    let (us, owner, place) = (user_name(us), user_name(owner), place.display());
    format!(
        "{plain}: {place} belongs to user {owner}, and the server runs as user {us}, which may \
         write its own files only: start it by its systemd unit or as user {owner}, or give {place} \
         to user {us}"
    )
}

/// The nearest part of `path` that is there, and who owns it.
fn owner(path: &Path) -> Option<(&Path, u32)> {
    path.ancestors().find_map(|place| Some((place, std::fs::metadata(place).ok()?.uid())))
}

fn message(missing: CapabilitySet) -> Option<String> {
    let names: Vec<String> = missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() {
        return None;
    }
    Some(format!(
        "{} missing: start by the systemd unit, as root, or after `setcap {}=ep` on the program",
        names.join(" and "),
        names.join(",").to_lowercase()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_names_all_that_is_missing() {
        assert_eq!(message(CapabilitySet::empty()), None);
        let text = message(NEEDED).unwrap();
        assert!(text.starts_with("CAP_NET_BIND_SERVICE and CAP_NET_RAW missing"), "{text}");
        assert!(text.contains("setcap cap_net_bind_service,cap_net_raw=ep"), "{text}");
    }

    #[test]
    fn routes_that_may_not_be_made_are_named_with_what_to_do() {
        let text = no_routes("lan", "2001:db8:8000::/40".parse().unwrap());
        for word in [
            "network `lan`, delegation 2001:db8:8000::/40: `install_route` needs CAP_NET_ADMIN",
            "`AmbientCapabilities=CAP_NET_ADMIN` and `CapabilityBoundingSet=CAP_NET_ADMIN`",
            "setcap cap_net_bind_service,cap_net_raw,cap_net_admin=ep",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert_eq!(missing_for_routes(&crate::api::tests::policy()), None);
    }

    #[test]
    fn a_path_of_another_user_is_explained() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        // Belongs to root wherever the test runs; as root itself there is nothing to explain.
        let said = explain_path("state_dir", Path::new("/proc/1/none"), &denied);
        assert!(said.starts_with("state_dir /proc/1/none: "), "{said}");
        let ours = Peer::own().unwrap().uid == 0;
        assert_eq!(said.contains("belongs to user root"), !ours, "{said}");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!explain_path("state_dir", Path::new("/proc"), &full).contains("belongs"));
    }

    /// Capabilities belong to threads, so this test may lose its own.
    #[test]
    fn nothing_but_the_network_is_kept() {
        std::thread::spawn(|| {
            let before = capabilities(None).unwrap().permitted;
            drop_privileges().unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after.permitted, before & (NEEDED | USEFUL));
            assert_eq!(after.effective, after.permitted);
            assert!(rustix::thread::no_new_privs().unwrap());
            assert_eq!(missing().is_none(), before.contains(NEEDED));
        })
        .join()
        .unwrap();
    }
}
