//! A day of an orchestrator against the running server, over its API and on a wire with guests:
//! two thousand instances on a /23, half of which end without a RELEASE.

mod day;
mod wire;

use serde_json::json;

use crate::common::clients::{Client, Kind};
use crate::common::dhcp;
use crate::common::server::{Server, Setup};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_for, wait_until};

use day::{Day, POOL, in_state};

const BODY: &str = r#"
[api]
rate = 0
[[account]]
name = "cloud"
[[network]]
name = "lan"
interfaces = ["br0"]
authoritative = true
limits = false
short = "0%"
verify = { ready = 64, probes_per_s = 2000, wait = "50ms" }
lease = { min = "10s", default = "1h", max = "1d", t1 = "30m", t2 = "50m" }
[[network.subnet]]
prefix = "10.77.2.0/23"
pools = ["10.77.2.2-10.77.3.254"]
[[network.subnet]]
prefix = "2001:db8:77:1::/64"
pools = ["2001:db8:77:1::1000-2001:db8:77:1::13ff"]
"#;

/// Rounds of so many machines that come and go.
const ROUNDS: usize = 50;
const PER_ROUND: usize = 40;
/// So many are kept running.
const STANDING: usize = 380;

/// A real client, and the machine that it was registered as.
struct Real {
    id: &'static str,
    client: Client,
}

/// Registers a host of its own, which then boots with a real client.
fn real(world: &World, day: &mut Day, host: &Host, kind: Kind, id: &'static str, n: u8) -> Real {
    let address = format!("10.77.2.{n}");
    let mut body = json!({ "id": id, "network": "lan", "account": "cloud", "hostname": id, "address": address });
    // The third boots with the MAC that is made for it.
    if kind != Kind::Dhcpcd {
        let text = host.mac_of("eth0").map(|b| format!("{b:02x}")).join(":");
        body["mac"] = text.into();
    }
    let vm = day.create_one(id, &body);
    assert_eq!(vm.addr.to_string(), address);
    let made = vm.mac.map(|b| format!("{b:02x}")).join(":");
    host.ip(&format!("link set eth0 address {made}"));
    let client = Client::start(world, host, kind, id);
    assert_eq!(client.wait_bound(), vm.addr, "{id}");
    day.vms.get_mut(id).unwrap().booted = true;
    day.elsewhere.insert(vm.addr);
    Real { id, client }
}

#[test]
fn a_day_of_an_orchestrator_leaks_no_address() {
    let world = World::new("day");
    let server_host = world.host("server");
    server_host.bridge("br0", Some("10.77.2.1/23"));
    let hosts_file = world.dir().join("hosts");
    let keys = format!("hosts_file = \"{}\"", hosts_file.display());
    let setup = Setup { keys: &keys, ..Setup::default() };
    let mut server = Server::start_with(&world, &server_host, BODY, setup);
    let guests = world.client("guests", &server_host, "br0");
    let at = (server_host.mac_of("br0"), [10, 77, 2, 1].into());
    let mut day = Day::begin(world.dir().join("control.sock"), &guests, at);

    let kinds =
        [(Kind::Dhclient, "vm-isc"), (Kind::Udhcpc, "vm-busybox"), (Kind::Dhcpcd, "vm-cpcd")];
    let mut reals: Vec<Real> = Vec::new();
    for (n, (kind, id)) in kinds.into_iter().enumerate() {
        let host = world.client(id, &server_host, "br0");
        reals.push(real(&world, &mut day, &host, kind, id, 200 + n as u8));
    }

    for round in 0..ROUNDS {
        turn_over(&mut day, round);
        match round {
            10 => end_real(&mut day, &mut reals[1]),
            20 => restart(&mut day, &mut server),
            30 => fill_up(&mut day, &server),
            _ => {}
        }
    }
    assert!(day.made >= ROUNDS * PER_ROUND && day.ended >= 1000, "{} {}", day.made, day.ended);

    day.settle(&server);
    day.agree(&server, &hosts_file);
    restart(&mut day, &mut server);
    day.agree(&server, &hosts_file);

    close(&mut day, &server, reals);
}

/// Some come, and as many go; some ghosts fall silent.
fn turn_over(day: &mut Day, round: usize) {
    // What ended in the rounds before is not believed silent at once.
    wait_until("room", PATIENCE, || day.free() >= PER_ROUND);
    let new = day.create(PER_ROUND);
    assert_eq!(new.len(), PER_ROUND, "refused, and there is room");
    // One in ten never boots.
    let boots: Vec<String> =
        new.iter().enumerate().filter(|(n, _)| n % 10 != 9).map(|(_, id)| id.clone()).collect();
    day.boot(&boots);
    trim(day, round);
    let quiet: Vec<_> =
        day.ghosts.keys().filter(|addr| !day.elsewhere.contains(addr)).copied().collect();
    for (n, addr) in quiet.into_iter().enumerate() {
        match n {
            0 => {
                let ghost = day.ghosts[&addr];
                assert_eq!(day.wire.renews(addr, ghost), dhcp::NAK, "a ghost renews {addr}");
            }
            // A few are never found out.
            1 | 2 if round % 10 == 5 => {}
            _ => day.lay(addr),
        }
    }
}

/// Those too many are destroyed; not the oldest alone.
fn trim(day: &mut Day, round: usize) {
    let standing: Vec<String> =
        day.vms.keys().filter(|id| id[3..].parse::<usize>().is_ok()).cloned().collect();
    let surplus = standing.len().saturating_sub(STANDING);
    let gone: Vec<String> = standing.into_iter().skip(round % 7).step_by(3).take(surplus).collect();
    day.destroy(&gone);
}

/// A real machine is destroyed and does not know: it keeps answering, hears a NAK when it renews,
/// and gets an address as anybody does.
fn end_real(day: &mut Day, real: &mut Real) {
    let vm = day.vms[real.id].clone();
    let (status, view) =
        day.api().ask("DELETE", &format!("/v1/instances/{}", real.id), &json!(null));
    assert_eq!(status, 200, "{view}");
    day.vms.remove(real.id);
    day.ghosts.insert(vm.addr, vm.mac);
    real.client.renew();
    let other = wait_for("another address", PATIENCE, || {
        let found = real.client.host.addresses("eth0");
        found.iter().filter_map(|a| a.parse().ok()).find(|a| *a != vm.addr)
    });
    day.ghosts.remove(&vm.addr);
    day.elsewhere.remove(&vm.addr);
    day.plain.insert(other);
    day.elsewhere.insert(other);
}

/// kill -9, and again.
fn restart(day: &mut Day, server: &mut Server) {
    server.kill9();
    server.start_again();
    day.connect();
}

/// Machines come until none is let in: then nothing is free; and once one ends, another comes.
fn fill_up(day: &mut Day, server: &Server) {
    while day.refused == 0 {
        let new = day.create(8);
        day.boot(&new);
        assert!(day.vms.len() <= POOL);
    }
    day.settle(server);
    // What came free meanwhile is given too.
    while day.free() > 0 {
        let new = day.create(1);
        assert_eq!(new.len(), 1, "refused, and an address is free");
        day.boot(&new);
    }
    assert!(day.is_exhausted(), "refused, and not all is given");
    assert_eq!(day.create(1), Vec::<String>::new(), "nothing is free");
    let one = day.vms.iter().find(|(id, vm)| id[3..].parse::<usize>().is_ok() && vm.booted);
    let (id, vm) = one.map(|(id, vm)| (id.clone(), vm.clone())).unwrap();
    day.destroy(&[id]);
    let next = wait_for("room for one more", PATIENCE, || day.create(1).pop());
    assert_eq!(day.vms[&next].addr, vm.addr, "the one that came free");
    trim(day, 0);
}

/// Everything ends, and every address comes back.
fn close(day: &mut Day, server: &Server, mut reals: Vec<Real>) {
    for real in &mut reals {
        real.client.kill9();
        real.client.host.ip("addr flush dev eth0");
    }
    let all: Vec<String> = day.vms.keys().cloned().collect();
    day.destroy(&all);
    // Whoever was never registered, and the old ghosts, which are asked for only now and then.
    let ghosts: Vec<_> = day.ghosts.keys().copied().collect();
    ghosts.iter().for_each(|addr| day.lay(*addr));
    for addr in std::mem::take(&mut day.plain).into_iter().chain(ghosts) {
        if ["leased", "leaving"].contains(&&*server.state_of(&addr.to_string())) {
            server.run(&["leases", "release", &addr.to_string()]);
        }
    }
    wait_until("every address to come back", PATIENCE * 3, || day.free() == POOL);
    assert_eq!(in_state(server, "leaving").len(), 0);
    assert_eq!(day.api().get("/v1/instances")["instances"].as_array().unwrap().len(), 0);
}
