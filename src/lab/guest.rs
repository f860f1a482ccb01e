//! The guests: three DHCP clients that people run, each in a namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::stage::{self, Actor, Tail};

const HOOK: &str = include_str!("hook.sh");
const DHCLIENT_CONF: &str =
    "initial-interval 1; backoff-cutoff 4; request subnet-mask, routers, domain-name-servers;\n";
const DHCPCD_CONF: &str = "\
ipv4only\nnoipv6rs\nnoipv4ll\nduid\nnodelay\noption domain_name_servers, routers\n";

/// Which client a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dhclient,
    Udhcpc,
    Dhcpcd,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Dhclient, Kind::Udhcpc, Kind::Dhcpcd];

    /// The program; also the name of the guest's namespace.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Dhclient => "dhclient",
            Kind::Udhcpc => "udhcpc",
            Kind::Dhcpcd => "dhcpcd",
        }
    }
}

/// Something that a client told its hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has an address: which, and for how many seconds.
    Bound(String, String),
    /// It has it for longer.
    Renewed(String, String),
    /// It has none any more.
    Gone,
}

/// A guest and its client.
pub(super) struct Guest {
    pub(super) kind: Kind,
    /// The address it has now.
    pub(super) address: Option<String>,
    /// How often it has renewed.
    pub(super) renewals: usize,
    dir: PathBuf,
    actor: Option<Actor>,
    events: Tail,
}

impl Guest {
    /// Plugs a guest into the bridge, without starting its client; files go below `dir`.
    pub(super) fn new(kind: Kind, dir: &Path) -> anyhow::Result<Guest> {
        let dir = dir.join(kind.name());
        fs::create_dir_all(dir.join("state")).with_context(|| format!("make {}", dir.display()))?;
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).with_context(|| format!("write {name}"))
        };
        write("hook", HOOK)?;
        fs::set_permissions(dir.join("hook"), fs::Permissions::from_mode(0o755))?;
        write("dhclient.conf", DHCLIENT_CONF)?;
        write("dhcpcd.conf", DHCPCD_CONF)?;
        if kind == Kind::Dhcpcd {
            write("sets-its-address", "")?;
        }
        stage::plug_in(kind.name(), &format!("02:1a:b0:00:00:{:02x}", kind as u8 + 1))?;
        let events = Tail::of(dir.join("events"));
        Ok(Guest { kind, address: None, renewals: 0, dir, actor: None, events })
    }

    /// Starts the client.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.actor = Some(Actor::start(self.command(&[]), &self.dir.join("log"))?);
        Ok(())
    }

    /// What the client told since the last call.
    pub(super) fn news(&mut self) -> Vec<Told> {
        let lines = self.events.lines();
        lines.iter().filter_map(|line| self.understand(line)).collect()
    }

    /// Makes the client renew now, if it cannot wait for T1.
    pub(super) fn renew(&self) -> anyhow::Result<()> {
        match (self.kind, &self.actor) {
            (Kind::Udhcpc, Some(actor)) => actor.signal("USR1"),
            // The others keep to the renewal time that the server sent.
            _ => Ok(()),
        }
    }

    /// Makes the client give its address back.
    pub(super) fn release(&self) -> anyhow::Result<()> {
        match (self.kind, &self.actor) {
            (Kind::Udhcpc, Some(actor)) => actor.signal("USR2"),
            (Kind::Dhcpcd, Some(actor)) => actor.signal("ALRM"),
            (Kind::Dhclient, Some(_)) => {
                let log = self.dir.join("log");
                Actor::start(self.command(&["-r"]), &log).map(drop)
            }
            (_, None) => Ok(()),
        }
    }

    /// The tail of what the client wrote, for when something went wrong.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
    }

    fn understand(&mut self, line: &str) -> Option<Told> {
        let mut words = line.split(' ');
        let (event, address, lease) = (words.next()?, words.next()?, words.next()?);
        let (address, lease) = (address.to_owned(), lease.to_owned());
        let told = match event {
            "bound" | "BOUND" | "REBOOT" => Told::Bound(address, lease),
            "renew" | "RENEW" | "REBIND" => Told::Renewed(address, lease),
            "RELEASE" | "EXPIRE" | "STOP" | "STOPPED" | "deconfig" if self.address.is_some() => {
                Told::Gone
            }
            _ => return None,
        };
        self.renewals += usize::from(matches!(told, Told::Renewed(..)));
        self.address = match &told {
            Told::Bound(address, _) | Told::Renewed(address, _) => Some(address.clone()),
            Told::Gone => None,
        };
        Some(told)
    }

    /// The client in its namespace. `ip netns exec` gives it mounts of its own as well.
    fn command(&self, extra: &[&str]) -> Command {
        let at = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.kind.name()]);
        match self.kind {
            Kind::Dhclient => {
                command.args(["dhclient", "-4", "-d"]).args(extra);
                command.args(["-sf", &at("hook"), "-cf", &at("dhclient.conf")]);
                command.args(["-lf", &at("leases"), "-pf", &at("pid"), "eth0"]);
            }
            Kind::Udhcpc => {
                command.args(["udhcpc", "-f", "-i", "eth0", "-s", &at("hook")]);
                command.args(["-t", "10", "-T", "1", "-A", "1"]).args(extra);
            }
            Kind::Dhcpcd => {
                // Its lease file and its sockets have no option: their places are mounted over.
                let script = "mount --bind \"$0\" /var/lib/dhcpcd && \
                              mount -t tmpfs tmpfs /run && exec dhcpcd \"$@\"";
                command.args(["sh", "-c", script, &at("state")]);
                command.args(["-4", "-B", "-f", &at("dhcpcd.conf"), "-c", &at("hook")]);
                command.args(extra).arg("eth0");
            }
        }
        command
    }
}
