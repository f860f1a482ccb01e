//! The three DHCP clients that people run: ISC dhclient, busybox udhcpc, dhcpcd.
//!
//! Each runs on a host of its own with a hook of ours that writes down every event with the
//! options that came, and (where the client leaves that to its hook) sets the address on `eth0`.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::process::Proc;
use super::world::{Host, World};
use super::{PATIENCE, look_for, require, wait_for, wait_until};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dhclient,
    Udhcpc,
    Dhcpcd,
}

/// A client on its host.
pub(crate) struct Client {
    pub(crate) host: Host,
    pub(crate) proc: Proc,
    kind: Kind,
    events: PathBuf,
    argv: Vec<String>,
    label: String,
}

/// How a client is to behave.
#[derive(Clone, Copy, Default)]
pub(crate) struct Habits<'a> {
    /// Probes its address by ARP before it uses it, and declines one that is taken.
    pub(crate) probes: bool,
    /// Host name that it sends.
    pub(crate) hostname: Option<&'a str>,
}

const HOOK: &str = r#"#!/bin/sh
exec 2>/dev/null
event=${1:-$reason}
addr=${ip:-$new_ip_address}
echo "event=$event addr=$addr lease=${lease:-$new_dhcp_lease_time} \
dns='${dns:-$new_domain_name_servers}' router='${router:-$new_routers}' \
search='${search:-$new_domain_search}' domain='${domain:-$new_domain_name}' \
hostname='${hostname:-$new_host_name}' mtu='${mtu:-$new_interface_mtu}' \
routes='${staticroutes:-$new_classless_static_routes}' ntp='${ntpsrv:-$new_ntp_servers}' \
own='${opt224:-$new_own_224}'" >> EVENTS
[ CONFIGURES = yes ] || exit 0
case $event in
BOUND|REBOOT)
    if [ PROBES = yes ] && ! busybox arping -q -D -c 1 -w 1 -I eth0 "$addr"; then exit 1; fi
    ip -4 addr replace "$addr/24" dev eth0 ;;
bound|renew|RENEW|REBIND) ip -4 addr replace "$addr/24" dev eth0 ;;
deconfig|RELEASE|STOP|EXPIRE|FAIL) ip -4 addr flush dev eth0; ip link set eth0 up ;;
PREINIT) ip link set eth0 up ;;
esac
exit 0
"#;

/// Short intervals, so that a lost message costs a second.
const DHCLIENT_CONF: &str = "\
option own-224 code 224 = string;
initial-interval 1; backoff-cutoff 2; reboot 4; retry 2; timeout 20; select-timeout 0;
request subnet-mask, routers, domain-name-servers, domain-name, domain-search, host-name,
  interface-mtu, ntp-servers, own-224;
";

const DHCPCD_CONF: &str = "\
ipv4only
noipv6rs
noipv4ll
duid
nodelay
option domain_name_servers, domain_name, domain_search, routers, host_name, interface_mtu
option classless_static_routes, ntp_servers
require dhcp_server_identifier
";

impl Client {
    /// Starts a client on `host`; what it keeps (lease file, DUID) stays under `label` for the
    /// next one that is started with the same label.
    pub(crate) fn start(world: &World, host: &Host, kind: Kind, label: &str) -> Client {
        Client::start_with(world, host, kind, label, Habits::default())
    }

    /// The same, with habits.
    pub(crate) fn start_with(
        world: &World,
        host: &Host,
        kind: Kind,
        label: &str,
        habits: Habits<'_>,
    ) -> Client {
        let dir = world.dir().join(label);
        fs::create_dir_all(dir.join("state")).unwrap();
        let events = world.dir().join(format!("{label}.events"));
        let hook = dir.join("hook");
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let text = HOOK
            .replace("EVENTS", events.to_str().unwrap())
            .replace("CONFIGURES", yes(kind != Kind::Dhcpcd))
            .replace("PROBES", yes(habits.probes));
        fs::write(&hook, text).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        let argv = match kind {
            Kind::Dhclient => dhclient(&dir, habits),
            Kind::Udhcpc => udhcpc(&dir, habits),
            Kind::Dhcpcd => dhcpcd(&dir, habits),
        };
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let proc = world.spawn(host, label, &words);
        Client { host: host.clone(), proc, kind, events, argv, label: label.to_owned() }
    }

    /// Every event so far, one a line.
    pub(crate) fn events(&self) -> String {
        fs::read_to_string(&self.events).unwrap_or_default()
    }

    /// How many events so far: a mark for [`Client::wait_event`].
    pub(crate) fn mark(&self) -> usize {
        self.events().lines().count()
    }

    /// Waits for an event after `mark` whose line has all of these words.
    #[track_caller]
    pub(crate) fn wait_event(&self, mark: usize, words: &[&str]) -> String {
        wait_for(&format!("event of {} with {words:?}", self.label), PATIENCE * 2, || {
            let events = self.events();
            let like = |line: &&str| words.iter().all(|word| line.contains(word));
            events.lines().skip(mark).find(like).map(str::to_owned)
        })
    }

    /// Waits until `eth0` has an address of 10.77/16, and returns it.
    #[track_caller]
    pub(crate) fn wait_bound(&self) -> Ipv4Addr {
        wait_for(&format!("{}: an address on eth0", self.label), PATIENCE * 2, || {
            let found = self.host.addresses("eth0");
            found.iter().find(|a| a.starts_with("10.77."))?.parse().ok()
        })
    }

    /// Waits until `eth0` has no address.
    #[track_caller]
    pub(crate) fn wait_unbound(&self) {
        wait_until(&format!("{}: no address on eth0", self.label), PATIENCE, || {
            self.host.addresses("eth0").is_empty()
        });
    }

    /// Makes the client renew now, where it can be told to.
    pub(crate) fn renew(&self) {
        match self.kind {
            Kind::Udhcpc | Kind::Dhcpcd => self.proc.signal(Signal::USR1),
            // dhclient renews by itself at T1 only.
            Kind::Dhclient => {}
        }
    }

    /// Gives the address back as its user would.
    pub(crate) fn release(&mut self) {
        match self.kind {
            Kind::Udhcpc => self.proc.signal(Signal::USR2),
            // dhcpcd forgets a signal that comes while it handles another: it is told again.
            Kind::Dhcpcd => wait_until("dhcpcd to give its address back", PATIENCE, || {
                self.proc.signal(Signal::ALARM);
                let gone = || self.host.addresses("eth0").is_empty().then_some(());
                look_for(Duration::from_secs(2), gone).is_some()
            }),
            Kind::Dhclient => {
                let mut words: Vec<&str> = self.argv.iter().map(String::as_str).collect();
                words.insert(1, "-r");
                let done = self.host.command(&words).output().unwrap();
                assert!(done.status.success(), "dhclient -r: {done:?}");
            }
        }
    }

    /// kill -9, once the lease is on its disk, which is after its address is set: the client
    /// forgets nothing and says nothing.
    pub(crate) fn kill9(&mut self) {
        let dir = self.events.with_extension("");
        wait_until(&format!("{}: a lease file", self.label), PATIENCE, || match self.kind {
            Kind::Udhcpc => true,
            Kind::Dhclient => {
                fs::read_to_string(dir.join("leases")).is_ok_and(|text| text.ends_with("}\n"))
            }
            Kind::Dhcpcd => {
                let lease = dir.join("state/eth0.lease");
                lease.metadata().is_ok_and(|file| file.len() > 0)
            }
        });
        self.proc.kill9();
    }
}

fn words(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

fn dhclient(dir: &std::path::Path, habits: Habits<'_>) -> Vec<String> {
    require("dhclient", "isc-dhcp-client");
    if habits.probes {
        require("busybox", "busybox");
    }
    let conf = dir.join("dhclient.conf");
    let name = habits.hostname.map(|n| format!("send host-name \"{n}\";\n")).unwrap_or_default();
    fs::write(&conf, format!("{DHCLIENT_CONF}{name}")).unwrap();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (hook, conf, leases, pid) = (at("hook"), at("dhclient.conf"), at("leases"), at("pid"));
    words(&[
        "dhclient", "-4", "-d", "-sf", &hook, "-cf", &conf, "-lf", &leases, "-pf", &pid, "eth0",
    ])
}

fn udhcpc(dir: &std::path::Path, habits: Habits<'_>) -> Vec<String> {
    require("udhcpc", "udhcpc");
    let hook = dir.join("hook").to_str().unwrap().to_owned();
    let mut argv = words(&["udhcpc", "-f", "-i", "eth0", "-s", &hook]);
    argv.extend(words(&["-t", "10", "-T", "1", "-A", "1", "-O", "search", "-O", "staticroutes"]));
    argv.extend(words(&["-O", "mtu", "-O", "ntpsrv", "-O", "hostname", "-O", "224"]));
    if let Some(name) = habits.hostname {
        argv.extend(words(&["-x", &format!("hostname:{name}")]));
    }
    if habits.probes {
        argv.push("-a".to_owned());
    }
    argv
}

fn dhcpcd(dir: &std::path::Path, habits: Habits<'_>) -> Vec<String> {
    require("dhcpcd", "dhcpcd-base");
    let (conf, hook, state) = (dir.join("dhcpcd.conf"), dir.join("hook"), dir.join("state"));
    let probes = if habits.probes { "" } else { "noarp\n" };
    let name = habits.hostname.map(|n| format!("hostname {n}\n")).unwrap_or_default();
    fs::write(&conf, format!("{DHCPCD_CONF}{probes}{name}")).unwrap();
    // `ip netns exec` made a mount namespace of its own: what is mounted here, only it sees.
    let line = format!(
        "mount -t tmpfs tmpfs /run && mount --bind {} /var/lib/dhcpcd && \
         exec dhcpcd -4 -B -d -f {} -c {} eth0",
        state.display(),
        conf.display(),
        hook.display()
    );
    words(&["sh", "-c", &line])
}
