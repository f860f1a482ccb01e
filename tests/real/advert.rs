//! Router advertisements and what multicast takes: the kernel of a client hears us, and so does
//! a switch that snoops.

use crate::common::server::{Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

const LAN6: &str = r#"
[network.router_advertisements]
router = true
mtu = 1400
goodbye = true
[[network.subnet]]
prefix = "2001:db8:77:1::/64"
pools = ["2001:db8:77:1::100-2001:db8:77:1::1ff"]
"#;

/// Has the kernel of `host` ask for routers and heed them on `eth0`.
fn heed_routers(host: &Host) {
    let conf = "/proc/sys/net/ipv6/conf/eth0";
    host.sh(&format!("echo 2 > {conf}/accept_ra; echo 3 > {conf}/router_solicitations"));
    host.ip("link set eth0 down");
    host.ip("link set eth0 up");
}

fn routes(host: &Host) -> String {
    host.sh("ip -6 route show dev eth0")
}

/// A client's kernel asks, and takes router, prefix and MTU from us, though the timer is far from
/// due; when we stop, we say that we are no router any more.
#[test]
fn a_kernel_heeds_our_advertisements() {
    let (world, server_host) = World::with_bridge("advert");
    let mut server = Server::start(&world, &server_host, &(calm_lan() + LAN6));
    let host = world.client("client", &server_host, "br0");
    heed_routers(&host);
    wait_until("a default route by router advertisement", PATIENCE, || {
        let routes = routes(&host);
        routes.contains("default via fe80::") && routes.contains("2001:db8:77:1::/64 proto kernel")
    });
    let mtu = host.sh("cat /proc/sys/net/ipv6/conf/eth0/mtu");
    assert_eq!(mtu.trim(), "1400");
    let addresses = host.sh("ip -6 addr show dev eth0 scope global");
    assert_eq!(addresses.trim(), "", "no address without the A flag");
    server.stop();
    wait_until("the end of the default route", PATIENCE, || !routes(&host).contains("default"));
}

/// The server is behind a switch that snoops on MLD, on an interface without IPv6: nobody but the
/// server itself can report the groups that it listens to. A switch that knows no listener of a
/// group keeps what is sent to it from every port.
#[test]
fn a_snooping_switch_withholds_nothing() {
    let (world, switch) = World::with_bridge("snoop");
    let server_host = world.client("behind", &switch, "br0");
    server_host.sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6");
    server_host.ip("addr add 10.77.1.2/24 dev eth0");
    let br0 = "/sys/class/net/br0/bridge";
    switch.sh(&format!(
        "echo 1 > {br0}/multicast_querier; echo 100 > {br0}/multicast_query_response_interval; \
         echo 1 > {br0}/multicast_snooping"
    ));
    let config = (calm_lan() + LAN6).replace("\"br0\"", "\"eth0\"");
    let _server = Server::start(&world, &server_host, &config);
    let host = world.client("client", &switch, "br0");
    wait_until("the group of servers at the server's port", PATIENCE, || {
        let groups = switch.sh("bridge mdb show dev br0");
        let has = |group: &str| groups.lines().any(|l| l.contains("port0") && l.contains(group));
        has("ff02::1:2") && has("ff02::2")
    });
    heed_routers(&host);
    wait_until("an answer to a solicitation through the switch", PATIENCE, || {
        routes(&host).contains("default via fe80::")
    });
}
