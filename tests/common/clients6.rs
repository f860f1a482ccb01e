//! The DHCPv6 clients that people run: ISC dhclient, dhcpcd, systemd-networkd. (The udhcpc6 of
//! busybox is in no package of Debian.)
//!
//! Each runs on a host of its own and asks without waiting for a router's advertisement, unless
//! it is told to heed one. A hook
//! of ours writes down every event of the first two, and sets dhclient's address on `eth0`.

use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::process::Proc;
use super::world::{Host, World};
use super::{PATIENCE, look_for, require, wait_for, wait_until};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind6 {
    Dhclient,
    Dhcpcd,
    Networkd,
}

/// How a client is to behave.
#[derive(Clone, Copy, Default)]
pub(crate) struct Habits6<'a> {
    /// Asks for a prefix too, beside its address.
    pub(crate) prefix: bool,
    /// Accepts a REPLY to its SOLICIT.
    pub(crate) rapid: bool,
    /// Asks only when a router's advertisement says so; not for dhclient.
    pub(crate) heeds_router: bool,
    /// Speaks DHCPv4 as well; for dhcpcd only.
    pub(crate) both: bool,
    /// Another interface, which it gives an address of its prefix; for dhcpcd only.
    pub(crate) inside: Option<&'a str>,
}

/// A client on its host.
pub(crate) struct Client6 {
    pub(crate) host: Host,
    pub(crate) proc: Proc,
    kind: Kind6,
    events: PathBuf,
    argv: Vec<String>,
    label: String,
}

/// Where the client leaves it to its hook, the address is set here as dhclient-script sets it:
/// if another machine has it (RFC 4862 s5.4), the client is told to decline it.
const HOOK: &str = r#"#!/bin/sh
exec 2>/dev/null
addr=${new_ip6_address:-$new_dhcp6_ia_na1_ia_addr1}
case $reason in
BOUND6|RENEW6|REBIND6)
    if [ CONFIGURES = yes ] && [ -n "$addr" ]; then
        ip -6 addr replace "$addr/128" dev eth0
        while ip -6 addr show dev eth0 tentative | grep -v dadfailed | grep -q "$addr"; do
            sleep 0.05
        done
        if ip -6 addr show dev eth0 dadfailed | grep -q "$addr"; then
            ip -6 addr del "$addr/128" dev eth0
            exit 3
        fi
    fi ;;
RELEASE6|EXPIRE6|STOP6)
    [ CONFIGURES = yes ] && ip -6 addr flush dev eth0 scope global ;;
esac
pd=${new_dhcp6_ia_pd1_prefix1:+$new_dhcp6_ia_pd1_prefix1/$new_dhcp6_ia_pd1_prefix1_length}
prefix=${new_ip6_prefix:-$pd}
dns="${new_dhcp6_name_servers}" search="${new_dhcp6_domain_search}"
echo "event=$reason if=$interface addr=$addr prefix=$prefix dns='$dns' search='$search'" >> EVENTS
"#;

const DHCLIENT_CONF: &str = "\
initial-interval 1; backoff-cutoff 2; retry 2; timeout 20;
also request dhcp6.name-servers, dhcp6.domain-search;
";

const DHCPCD_CONF: &str = "\
nodev
noipv6rs
noipv4ll
noarp
duid
nodelay
option dhcp6_name_servers, dhcp6_domain_search, dhcp6_reconfigure_accept
";

const NETWORKD_CONF: &str = "\
[Match]
Name=eth0
[Network]
DHCP=ipv6
IPv6AcceptRA=no
LinkLocalAddressing=ipv6
[DHCPv6]
WithoutRA=solicit
DUIDType=link-layer
";

impl Client6 {
    /// Starts a client on `host`; what it keeps (lease file, DUID) stays under `label` for the
    /// next one that is started with the same label.
    pub(crate) fn start(
        world: &World,
        host: &Host,
        kind: Kind6,
        label: &str,
        habits: Habits6<'_>,
    ) -> Client6 {
        let dir = world.dir().join(label);
        fs::create_dir_all(dir.join("state")).unwrap();
        let events = world.dir().join(format!("{label}.events"));
        let hook = dir.join("hook");
        let configures = if kind == Kind6::Dhclient { "yes" } else { "no" };
        let text =
            HOOK.replace("EVENTS", events.to_str().unwrap()).replace("CONFIGURES", configures);
        fs::write(&hook, text).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        let argv = match kind {
            Kind6::Dhclient => dhclient(&dir, habits),
            Kind6::Dhcpcd => dhcpcd(&dir, habits),
            Kind6::Networkd => networkd(&dir, habits),
        };
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let proc = world.spawn(host, label, &words);
        Client6 { host: host.clone(), proc, kind, events, argv, label: label.to_owned() }
    }

    /// Every event so far, one a line.
    pub(crate) fn events(&self) -> String {
        fs::read_to_string(&self.events).unwrap_or_default()
    }

    /// Waits for an event whose line has all of these words.
    #[track_caller]
    pub(crate) fn wait_event(&self, words: &[&str]) -> String {
        wait_for(&format!("event of {} with {words:?}", self.label), PATIENCE * 2, || {
            let events = self.events();
            let like = |line: &&str| words.iter().all(|word| line.contains(word));
            events.lines().find(like).map(str::to_owned)
        })
    }

    /// Waits until `eth0` uses a global address that begins with `prefix`, and returns it.
    #[track_caller]
    pub(crate) fn wait_bound(&self, prefix: &str) -> Ipv6Addr {
        let what = format!("{}: an address of {prefix} on eth0", self.label);
        wait_for(&what, PATIENCE * 2, || {
            let found = self.host.addresses6("eth0");
            found.iter().find(|a| a.starts_with(prefix))?.parse().ok()
        })
    }

    /// Waits until the client tells of a delegated prefix, and returns it.
    #[track_caller]
    pub(crate) fn wait_prefix(&self) -> String {
        let event = self.wait_event(&["prefix=2001:"]);
        event.split("prefix=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// Waits until `eth0` has no global address.
    #[track_caller]
    pub(crate) fn wait_unbound(&self) {
        wait_until(&format!("{}: no address on eth0", self.label), PATIENCE, || {
            self.host.addresses6("eth0").is_empty()
        });
    }

    /// Makes the client renew now, where it can be told to; the others renew at T1.
    pub(crate) fn renew(&self) {
        if self.kind == Kind6::Dhcpcd {
            self.proc.signal(Signal::USR1);
        }
    }

    /// Gives back what it has, as its user would.
    pub(crate) fn release(&mut self) {
        match self.kind {
            // dhcpcd forgets a signal that comes while it handles another: it is told again.
            Kind6::Dhcpcd => wait_until("dhcpcd to give its address back", PATIENCE, || {
                self.proc.signal(Signal::ALARM);
                let gone = || self.host.addresses6("eth0").is_empty().then_some(());
                look_for(Duration::from_secs(2), gone).is_some()
            }),
            Kind6::Dhclient => {
                let mut words: Vec<&str> = self.argv.iter().map(String::as_str).collect();
                words.insert(1, "-r");
                let done = self.host.command(&words).output().unwrap();
                assert!(done.status.success(), "dhclient -r: {done:?}");
            }
            Kind6::Networkd => panic!("systemd-networkd gives nothing back"),
        }
    }

    /// kill -9: the client forgets nothing that is on its disk and says nothing.
    pub(crate) fn kill9(&mut self) {
        self.proc.kill9();
    }
}

fn words(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

fn dhclient(dir: &Path, habits: Habits6<'_>) -> Vec<String> {
    require("dhclient", "isc-dhcp-client");
    let rapid = if habits.rapid { "send dhcp6.rapid-commit;\n" } else { "" };
    fs::write(dir.join("dhclient.conf"), format!("{DHCLIENT_CONF}{rapid}")).unwrap();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (hook, conf, leases, pid) = (at("hook"), at("dhclient.conf"), at("leases"), at("pid"));
    let mut argv = words(&["dhclient", "-6", "-d", "-v", "-D", "LL", "--dad-wait-time", "5"]);
    if habits.prefix {
        argv.extend(words(&["-N", "-P"]));
    }
    argv.extend(words(&["-sf", &hook, "-cf", &conf, "-lf", &leases, "-pf", &pid, "eth0"]));
    argv
}

fn dhcpcd(dir: &Path, habits: Habits6<'_>) -> Vec<String> {
    require("dhcpcd", "dhcpcd-base");
    let (conf, hook, state) = (dir.join("dhcpcd.conf"), dir.join("hook"), dir.join("state"));
    let family = if habits.both { "" } else { "ipv6only\n" };
    let rapid = if habits.rapid { "option dhcp6_rapid_commit\n" } else { "" };
    let prefix = match habits.inside {
        Some(inside) => format!("ia_pd 2 {inside}/0\n"),
        None if habits.prefix => "ia_pd 2 -\n".to_owned(),
        None => String::new(),
    };
    let asks = if habits.heeds_router { "" } else { "ia_na 1\n" };
    let conf_text = match habits.heeds_router {
        true => DHCPCD_CONF.replace("noipv6rs\n", ""),
        false => DHCPCD_CONF.to_owned(),
    };
    let text = format!("{conf_text}{family}{rapid}interface eth0\n{asks}{prefix}");
    fs::write(&conf, text).unwrap();
    // `ip netns exec` made a mount namespace of its own: what is mounted here, only it sees.
    let line = format!(
        "mount -t tmpfs tmpfs /run && mount --bind {} /var/lib/dhcpcd && \
         exec dhcpcd -B -d -f {} -c {} eth0 {}",
        state.display(),
        conf.display(),
        hook.display(),
        habits.inside.unwrap_or_default()
    );
    words(&["sh", "-c", &line])
}

fn networkd(dir: &Path, habits: Habits6<'_>) -> Vec<String> {
    let program = "/lib/systemd/systemd-networkd";
    assert!(Path::new(program).exists(), "{program} is missing: apt-get install systemd");
    let conf = dir.join("eth0.network");
    let text = match habits.heeds_router {
        true => NETWORKD_CONF
            .replace("IPv6AcceptRA=no", "IPv6AcceptRA=yes")
            .replace("DHCP=ipv6\n", "")
            .replace("WithoutRA=solicit\n", ""),
        false => NETWORKD_CONF.to_owned(),
    };
    fs::write(&conf, text).unwrap();
    // Where /sys cannot be written, networkd waits for no udev.
    let line = format!(
        "mount -t tmpfs tmpfs /run && mount -o remount,ro,bind /sys && \
         mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links \
         /run/systemd/netif/lldp && chown -R systemd-network /run/systemd/netif && \
         cp {} /run/systemd/network && \
         SYSTEMD_LOG_LEVEL=debug exec {program}",
        conf.display()
    );
    words(&["sh", "-c", &line])
}
