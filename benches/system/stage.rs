//! Where a server and its clients meet: two namespaces joined by a pair of interfaces.

use std::net::Ipv4Addr;

use foreshadow::base::Mac;

use crate::common::wait_until;
use crate::common::world::{Host, World};

/// The address that the generator has, and relays from.
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The server's interface.
pub(crate) const SERVER_LINK: &str = "s0";
const CLIENT_LINK: &str = "c0";

/// A server's machine and a generator's, with addresses of both protocols.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) server: Host,
    pub(crate) client: Host,
    pub(crate) client_link: &'static str,
    pub(crate) server_mac: Mac,
}

impl Stage {
    /// The server has 10.77.0.1 with this prefix length.
    pub(crate) fn new(name: &str, prefix_len: u8) -> Stage {
        let world = World::new(name);
        let (server, client) = (world.host("s"), world.host("c"));
        server.ip(&format!(
            "link add {SERVER_LINK} type veth peer name {CLIENT_LINK} netns {}",
            client.ns
        ));
        for (host, link, number) in [(&server, SERVER_LINK, 1), (&client, CLIENT_LINK, 2)] {
            // A host that answers pings would keep addresses from being given away.
            host.sh("sysctl -qw net.ipv4.icmp_echo_ignore_all=1 net.ipv4.conf.all.rp_filter=0");
            host.ip(&format!("addr add 10.77.0.{number}/{prefix_len} brd + dev {link}"));
            host.ip(&format!("-6 addr add fd00:77::{number}/64 dev {link} nodad"));
            host.ip(&format!("link set {link} up"));
        }
        // Servers that answer renewals by the kernel's routes ask for the client by ARP.
        for part in ["10.77.16.0/20", "10.77.32.0/19", "10.77.64.0/18", "10.77.128.0/17"] {
            client.ip(&format!("route add local {part} dev {CLIENT_LINK}"));
        }
        for (host, link) in [(&server, SERVER_LINK), (&client, CLIENT_LINK)] {
            wait_until("a link-local address", crate::common::PATIENCE, || {
                let shown = host.ip(&format!("-6 -o addr show dev {link} scope link"));
                shown.contains("inet6") && !shown.contains("tentative")
            });
        }
        let server_mac = Mac(server.mac_of(SERVER_LINK));
        Stage { world, server, client, client_link: CLIENT_LINK, server_mac }
    }
}
