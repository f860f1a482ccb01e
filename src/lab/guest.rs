//! The guests: DHCP clients that people run, each in a namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::stage::{self, Actor, Tail};

const HOOK: &str = include_str!("hook.sh");
const DHCLIENT_CONF: &str = "\
initial-interval 1; backoff-cutoff 4; request subnet-mask, routers, domain-name-servers;\n";
/// It asks over IPv6 because the server's advertisement says so.
const DHCPCD_CONF: &str = "\
nodev\nnoipv4ll\nduid\nnodelay\noption domain_name_servers, routers\n\
interface eth0\n";

/// Which client a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dhclient,
    Udhcpc,
    Dhcpcd,
    /// dhcpcd, which takes a prefix too and numbers the segment behind it.
    Router,
    /// udhcpc, which stands by for another guest; it comes later than the others.
    Standby,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Dhclient, Kind::Udhcpc, Kind::Dhcpcd, Kind::Router];

    /// The name of the guest and of its namespace.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Dhclient => "dhclient",
            Kind::Udhcpc => "udhcpc",
            Kind::Dhcpcd => "dhcpcd",
            Kind::Router => "router",
            Kind::Standby => "standby",
        }
    }

    /// The hardware address of the guest.
    pub(super) fn mac(self) -> String {
        format!("02:1a:b0:00:00:{:02x}", self as u8 + 1)
    }

    /// The guest's port on the bridge.
    pub(super) fn port(self) -> String {
        stage::port_of(self.name())
    }
}

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Something that a client told its hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has an address: which, and for how many seconds.
    Bound(String, String),
    /// It has it for longer.
    Renewed(String, String),
    /// It has been delegated a prefix.
    Delegated(String),
    /// It has given the segment behind it an address of its prefix.
    Numbered(String),
    /// It has this address no more.
    Gone(String),
}

/// What a guest has by one protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// The address it has now.
    pub(super) address: Option<String>,
    /// How often it has renewed.
    pub(super) renewals: usize,
}

/// A guest and its clients.
pub(super) struct Guest {
    pub(super) kind: Kind,
    /// By DHCPv4.
    pub(super) four: Held,
    /// By DHCPv6.
    pub(super) six: Held,
    /// The prefix that it was delegated.
    pub(super) prefix: Option<String>,
    /// The address of the segment behind it.
    pub(super) inside: Option<String>,
    dir: PathBuf,
    actors: Vec<Actor>,
    events: Tail,
}

impl Guest {
    /// Plugs a guest into the bridge, without starting its clients; files go below `dir`.
    pub(super) fn new(kind: Kind, dir: &Path) -> anyhow::Result<Guest> {
        let dir = dir.join(kind.name());
        fs::create_dir_all(dir.join("state")).with_context(|| format!("make {}", dir.display()))?;
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).with_context(|| format!("write {name}"))
        };
        write("hook", HOOK)?;
        fs::set_permissions(dir.join("hook"), fs::Permissions::from_mode(0o755))?;
        write("dhclient.conf", DHCLIENT_CONF)?;
        let prefix = match kind {
            Kind::Router => format!("ia_na 1\nia_pd 2 {}/0\n", stage::INSIDE),
            _ => String::new(),
        };
        write("dhcpcd.conf", &format!("{DHCPCD_CONF}{prefix}"))?;
        if matches!(kind, Kind::Dhcpcd | Kind::Router) {
            write("sets-its-address", "")?;
        }
        stage::plug_in(kind.name(), &kind.mac())?;
        if kind == Kind::Router {
            stage::segment_behind(kind.name())?;
        }
        let (four, six) = (Held::default(), Held::default());
        let events = Tail::of(dir.join("events"));
        let (prefix, inside, actors) = (None, None, Vec::new());
        Ok(Guest { kind, four, six, prefix, inside, dir, actors, events })
    }

    /// Starts the clients.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        for command in self.commands() {
            self.actors.push(Actor::start(command, &self.dir.join("log"))?);
        }
        Ok(())
    }

    /// Whether it has all that it asked for.
    pub(super) fn is_settled(&self) -> bool {
        let routes = self.kind != Kind::Router || (self.prefix.is_some() && self.inside.is_some());
        self.four.address.is_some() && self.six.address.is_some() && routes
    }

    /// Whether it has nothing any more.
    pub(super) fn is_gone(&self) -> bool {
        self.four.address.is_none() && self.six.address.is_none()
    }

    /// What it has, to be compared.
    pub(super) fn holds(&self) -> [Option<String>; 4] {
        [&self.four.address, &self.six.address, &self.prefix, &self.inside].map(Clone::clone)
    }

    /// What the clients told since the last call.
    pub(super) fn news(&mut self) -> Vec<Told> {
        let lines = self.events.lines();
        lines.iter().flat_map(|line| self.understand(line)).collect()
    }

    /// Makes the client renew now, if it cannot wait for T1.
    pub(super) fn renew(&self) -> anyhow::Result<()> {
        match (self.kind, self.actors.first()) {
            (Kind::Udhcpc | Kind::Standby, Some(actor)) => actor.signal("USR1"),
            // The others keep to the renewal time that the server sent.
            _ => Ok(()),
        }
    }

    /// Makes the clients give back what they have.
    pub(super) fn release(&self) -> anyhow::Result<()> {
        let Some(first) = self.actors.first() else { return Ok(()) };
        match self.kind {
            Kind::Udhcpc => first.signal("USR2")?,
            Kind::Standby => return first.signal("USR2"),
            Kind::Dhcpcd | Kind::Router => return first.signal("ALRM"),
            Kind::Dhclient => self.run_once(self.dhclient(Family::V4, &["-r"]))?,
        }
        self.run_once(self.dhclient(Family::V6, &["-r"]))
    }

    fn run_once(&self, command: Command) -> anyhow::Result<()> {
        Actor::start(command, &self.dir.join("log")).map(drop)
    }

    /// The tail of what the clients wrote, for when something went wrong.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
    }

    /// A line of the hook: event, address, seconds, prefix.
    fn understand(&mut self, line: &str) -> Vec<Told> {
        let mut words = line.split(' ').map(str::to_owned);
        let mut next = || words.next().filter(|word| word != "-");
        let (Some(event), address, lease, prefix) = (next(), next(), next(), next()) else {
            return Vec::new();
        };
        if event == "DELEGATED6" {
            // dhcpcd says so again at each renewal.
            let is_news = prefix != self.inside;
            self.inside.clone_from(&prefix);
            return prefix.filter(|_| is_news).map(Told::Numbered).into_iter().collect();
        }
        let (event, held) = match event.strip_suffix('6') {
            Some(event) => (event, &mut self.six),
            None => (event.as_str(), &mut self.four),
        };
        let mut told = Vec::new();
        match (event, address) {
            ("bound" | "BOUND" | "REBOOT", Some(address)) => {
                held.address = Some(address.clone());
                told.push(Told::Bound(address, lease.unwrap_or_default()));
                if let Some(prefix) = prefix {
                    self.prefix = Some(prefix.clone());
                    told.push(Told::Delegated(prefix));
                }
            }
            ("renew" | "RENEW" | "REBIND", Some(address)) => {
                held.renewals += 1;
                held.address = Some(address.clone());
                told.push(Told::Renewed(address, lease.unwrap_or_default()));
            }
            ("RELEASE" | "EXPIRE" | "STOP" | "STOPPED" | "deconfig", _) => {
                told.extend(held.address.take().map(Told::Gone));
            }
            _ => {}
        }
        told
    }

    /// The clients in their namespace. `ip netns exec` gives them mounts of their own as well.
    fn commands(&self) -> Vec<Command> {
        match self.kind {
            Kind::Dhclient => vec![self.dhclient(Family::V4, &[]), self.dhclient(Family::V6, &[])],
            // Debian's udhcpc speaks IPv4 only.
            Kind::Udhcpc => vec![self.udhcpc(), self.dhclient(Family::V6, &[])],
            Kind::Dhcpcd | Kind::Router => vec![self.dhcpcd()],
            Kind::Standby => vec![self.udhcpc()],
        }
    }

    fn inside_namespace(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.kind.name()]);
        command
    }

    fn at(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn dhclient(&self, family: Family, extra: &[&str]) -> Command {
        let mut command = self.inside_namespace();
        let (flag, leases, pid) = match family {
            Family::V4 => ("-4", "leases", "pid"),
            Family::V6 => ("-6", "leases6", "pid6"),
        };
        command.args(["dhclient", flag, "-d"]).args(extra);
        command.args(["-sf", &self.at("hook"), "-cf", &self.at("dhclient.conf")]);
        command.args(["-lf", &self.at(leases), "-pf", &self.at(pid), "eth0"]);
        command
    }

    fn udhcpc(&self) -> Command {
        let mut command = self.inside_namespace();
        command.args(["udhcpc", "-f", "-i", "eth0", "-s", &self.at("hook")]);
        command.args(["-t", "10", "-T", "1", "-A", "1"]);
        command
    }

    fn dhcpcd(&self) -> Command {
        let mut command = self.inside_namespace();
        // Its lease file and its sockets have no option: their places are mounted over.
        let script = "mount --bind \"$0\" /var/lib/dhcpcd && \
                      mount -t tmpfs tmpfs /run && exec dhcpcd \"$@\"";
        command.args(["sh", "-c", script, &self.at("state")]);
        command.args(["-B", "-f", &self.at("dhcpcd.conf"), "-c", &self.at("hook"), "eth0"]);
        if self.kind == Kind::Router {
            command.arg(stage::INSIDE);
        }
        command
    }
}
