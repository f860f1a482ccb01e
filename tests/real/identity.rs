//! Who is who: cloned images, changed network cards, reservations.

use crate::common::clients::{Client, Habits, Kind};
use crate::common::link::{Raw, mac};
use crate::common::server::{Server, calm_lan};
use crate::common::world::World;

const CLONE: [u8; 5] = [0, b'i', b'm', b'g', b'1'];

/// Two live machines of one image send the same client identifier: each gets an address of its
/// own, and keeps it when it asks again.
#[test]
fn clones_get_two_addresses() {
    let (world, server_host) = World::with_bridge("clones");
    let _server = Server::start(&world, &server_host, &calm_lan());
    // The first one must be alive to be asked: a real machine that answers ARP.
    let first_host = world.client("first", &server_host, "br0");
    let mut first = Raw::on(&first_host);
    let id = [(61, CLONE.to_vec())];
    let own = first_host.mac_of("eth0");
    let one = first.lease_with(own, &id);
    first_host.ip(&format!("addr add {}/24 dev eth0", one.addr));

    let second_host = world.client("second", &server_host, "br0");
    let mut second = Raw::on(&second_host);
    let two = second.lease_with(second_host.mac_of("eth0"), &id);
    assert_ne!(one.addr, two.addr);
    assert_eq!(first.lease_with(own, &id).addr, one.addr);
    assert_eq!(second.lease_with(two.mac, &id).addr, two.addr);
}

/// A machine whose network card was changed (same client identifier, new hardware address, the
/// old one silent) keeps its address.
#[test]
fn a_changed_card_keeps_the_address() {
    let (world, server_host) = World::with_bridge("card");
    let _server = Server::start(&world, &server_host, &calm_lan());
    let host = world.client("client", &server_host, "br0");
    let mut raw = Raw::on(&host);
    let id = [(61, CLONE.to_vec())];
    let before = raw.lease_with(mac(1), &id);
    let after = raw.lease_with(mac(2), &id);
    assert_eq!(before.addr, after.addr);
}

/// A reservation gives its client the address, the name and the option that the file says,
/// outside the pool; another client gets neither.
#[test]
fn a_reservation_reaches_its_client() {
    let (world, server_host) = World::with_bridge("reserved");
    let host = world.client("client", &server_host, "br0");
    let [a, b, c, d, e, f] = host.mac_of("eth0");
    let reservation = format!(
        "\n[[network.reservation]]\nmac = \"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\"\n\
         address = \"10.77.1.40\"\nhostname = \"reserved-host\"\n\
         options = {{ ntp-servers = [\"10.77.1.77\"] }}\n"
    );
    let server = Server::start(&world, &server_host, &(calm_lan() + &reservation));
    let client = Client::start(&world, &host, Kind::Udhcpc, "client");
    assert_eq!(client.wait_bound().to_string(), "10.77.1.40");
    client.wait_event(0, &["hostname='reserved-host'", "ntp='10.77.1.77'"]);
    assert_eq!(server.lease_of([10, 77, 1, 40].into()).unwrap()["state"], "leased");

    let other = world.client("other", &server_host, "br0");
    let habits = Habits { hostname: Some("other-host"), ..Habits::default() };
    let client = Client::start_with(&world, &other, Kind::Udhcpc, "other", habits);
    let addr = client.wait_bound();
    assert!(addr.octets()[3] >= 100, "{addr} is not in the pool");
    client.wait_event(0, &["event=bound", "ntp=''"]);
}
