//! Who is on the other end of the control socket, and what they may do.
//!
//! The socket is 0660, so whoever can connect at all is root, the server's user or in its group,
//! unless the operator opened it further. Then the kernel's word on the peer (SO_PEERCRED)
//! decides: everybody else may read and change nothing. The kernel names a peer's primary group
//! only; further members of the group are looked up in `/etc/group`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use tokio::net::unix::UCred;

/// A connected process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl From<UCred> for Peer {
    fn from(cred: UCred) -> Peer {
        Peer { uid: cred.uid(), gid: cred.gid() }
    }
}

impl Peer {
    /// This process itself.
    pub fn own() -> io::Result<Peer> {
        let own = fs::metadata("/proc/self")?;
        Ok(Peer { uid: own.uid(), gid: own.gid() })
    }

    /// Whether this peer may change what `server` serves.
    pub fn may_change(self, server: Peer) -> bool {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        self.uid == 0
            || self.uid == server.uid
            || self.gid == server.gid
            || is_member(self.uid, server.gid, &file("/etc/passwd"), &file("/etc/group"))
    }
}

/// The name of a user, else its number.
pub fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &passwd).map_or_else(|| format!("number {uid}"), str::to_owned)
}

/// The name of user `uid` (passwd(5)).
fn name_of(uid: u32, passwd: &str) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (id(fields.nth(1)) == Some(uid)).then_some(name)
    })
}

fn id(text: Option<&str>) -> Option<u32> {
    text?.parse().ok()
}

/// Whether user `uid` is listed as a member of group `gid` (passwd(5), group(5)).
fn is_member(uid: u32, gid: u32, passwd: &str, group: &str) -> bool {
    let Some(user) = name_of(uid, passwd) else { return false };
    group.lines().any(|line| {
        let mut fields = line.split(':');
        id(fields.nth(2)) == Some(gid)
            && fields.next().is_some_and(|members| members.split(',').any(|name| name == user))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:\nbob:x:1001:1001::/:\n";
    const GROUP: &str = "broken\nforeshadow:x:990:ann,eve\nother:x:991:bob\n";

    #[test]
    fn members_are_those_that_the_group_lists() {
        assert!(is_member(1000, 990, PASSWD, GROUP));
        assert!(!is_member(1001, 990, PASSWD, GROUP));
        assert!(!is_member(4242, 990, PASSWD, GROUP));
    }

    #[test]
    fn root_and_the_server_itself_may_change() {
        let server = Peer { uid: 990, gid: 990 };
        assert!(Peer { uid: 0, gid: 0 }.may_change(server));
        assert!(server.may_change(server));
        assert!(Peer { uid: 4_000_000, gid: 990 }.may_change(server));
        assert!(!Peer { uid: 4_000_000, gid: 4_000_000 }.may_change(server));
    }
}
