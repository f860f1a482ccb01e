//! Clients that are moved to other addresses: dhcpcd takes the messages that ask it to renew at
//! once, the others move when they renew.

use crate::common::clients::{Client, Kind};
use crate::common::clients6::{Client6, Habits6, Kind6};
use crate::common::server::Server;
use crate::common::world::World;
use crate::common::{PATIENCE, wait_until};

/// Of each family two pools, the second with one address; leases of an hour, so that nobody renews
/// by itself before a test is over.
const TWO_POOLS: &str = r#"
[[network]]
name = "lan"
interfaces = ["br0"]
authoritative = true
verify = false
lease = { default = "1h" }
relocation = { mode = "plan" }
[[network.subnet]]
prefix = "10.77.1.0/24"
pools = ["10.77.1.100-10.77.1.109", "10.77.1.200"]
[[network.subnet]]
prefix = "2001:db8:77:1::/64"
pools = ["2001:db8:77:1::1000-2001:db8:77:1::10ff", "2001:db8:77:1::2000"]
"#;

/// The client has the address of the other pool, and the one it had is nobody's.
fn moves(kind: Kind, asked: bool) {
    let (world, server_host) = World::with_bridge("moves");
    let times =
        if asked { "default = \"1h\"" } else { "default = \"2m\", t1 = \"3s\", t2 = \"60s\"" };
    let server = Server::start(&world, &server_host, &TWO_POOLS.replace("default = \"1h\"", times));
    let host = world.client("client", &server_host, "br0");
    let client = Client::start(&world, &host, kind, "client");
    let first = client.wait_bound().to_string();
    server.ask(&["leases", "drain", &first]);
    if kind == Kind::Udhcpc {
        client.renew();
    }
    wait_until("the client has the other address", PATIENCE, || {
        server.state_of("10.77.1.200") == "leased" && server.state_of(&first) != "leased"
    });
    wait_until("and uses it", PATIENCE, || {
        host.ip("-4 addr show dev eth0").contains("10.77.1.200")
    });
}

/// RFC 3203 and RFC 6704: it is asked to renew, and is told NAK then.
#[test]
fn dhcpcd_moves_at_once() {
    moves(Kind::Dhcpcd, true);
}

#[test]
fn dhclient_moves_when_it_renews() {
    moves(Kind::Dhclient, false);
}

#[test]
fn udhcpc_moves_when_it_renews() {
    moves(Kind::Udhcpc, false);
}

/// RFC 9915 s18.2.11: a Reconfigure, a Renew, and the new address beside the old one.
#[test]
fn dhcpcd6_moves_at_once() {
    let (world, server_host) = World::with_bridge("moves6");
    server_host.ip("addr add 2001:db8:77:1::1/64 dev br0");
    let server = Server::start(&world, &server_host, TWO_POOLS);
    let host = world.client("client", &server_host, "br0");
    let client = Client6::start(&world, &host, Kind6::Dhcpcd, "client", Habits6::default());
    let first = client.wait_bound("2001:db8:77:1::").to_string();
    server.ask(&["leases", "drain", &first]);
    wait_until("the client has the other address", PATIENCE, || {
        server.state_of("2001:db8:77:1::2000") == "leased"
    });
    wait_until("and uses it alone", PATIENCE, || {
        let has = host.ip("-6 addr show dev eth0 scope global");
        has.contains("2001:db8:77:1::2000") && !has.contains(&format!("{first}/"))
    });
}
