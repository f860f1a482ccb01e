//! A server whose metrics are worth looking at, and clients that make them so.

use crate::common::crowd::Crowd;
use crate::common::crowd6::Crowd6;
use crate::common::dhcp::{self, Message};
use crate::common::link::{Raw, mac};
use crate::common::server::{LAN6, Server, calm_lan};
use crate::common::world::{Host, World};

/// Where scrapers find it, on the loopback of the server's host.
pub(crate) const LISTEN: &str = "127.0.0.1:9567";

/// Both families, a second network without an interface, a verifier, a hook, reconciliation, and an account
/// with shadows, of which is forecast how many come.
pub(crate) fn config() -> String {
    let lan = calm_lan().replace(
        "verify = false",
        "verify = { ready = 8, probes_per_s = 100 }\naccount = \"acme\"",
    );
    let lan = lan.replace(
        "[[network.subnet]]",
        "[network.reconcile]\nmode = \"report\"\nrate = 20\n[[network.subnet]]",
    );
    let far = "\n[[network]]\nname = \"far\"\nrelays = [\"10.78.0.1\"]\n\
               tiers = { hot = {} }\n[[network.subnet]]\n\
               prefix = \"10.78.0.0/24\"\npools = [\"10.78.0.10-10.78.0.19\", \
               \"10.78.0.30-10.78.0.39\"]\n";
    let account = "\n[[account]]\nname = \"acme\"\nnetworks = [\"lan\"]\nshadow = { ready = 2 }\n";
    let hook = "\n[[hook]]\nname = \"tell\"\nevents = [\"granted\"]\ncommand = [\"/bin/true\"]\n";
    let forecast = "\n[forecast]\nmode = \"on\"\n";
    format!("{forecast}\n[metrics]\nlisten = \"{LISTEN}\"\n{lan}{LAN6}{far}{hook}{account}")
}

/// A server with clients of both families: leases, releases, a decline, and packets that make no
/// sense.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) host: Host,
    _server: Server,
    pub(crate) clients: Host,
}

impl Stage {
    pub(crate) fn set(name: &str) -> Stage {
        let (world, host) = World::with_bridge(name);
        let server = Server::start(&world, &host, &config());
        let clients = world.client("clients", &host, "br0");
        let mut stage = Stage { world, host, _server: server, clients };
        stage.play(1);
        stage
    }

    /// Clients with numbers from `first` on come: twenty-two of IPv4, five of IPv6.
    pub(crate) fn play(&mut self, first: u32) {
        Crowd::on(&self.clients, first).lease(20, |_| true);
        Crowd6::on(&self.clients, first + 50).lease(5, |_| true);
        let mut raw = Raw::on(&self.clients);
        for (n, kind) in [(first + 30, dhcp::RELEASE), (first + 31, dhcp::DECLINE)] {
            let got = raw.lease(mac(n));
            let xid = raw.xid();
            let mut end = Message::request(kind, xid, mac(n)).with(54, &[10, 77, 1, 1]);
            match kind {
                dhcp::RELEASE => end.ciaddr = got.addr,
                _ => end.options.push((50, got.addr.octets().to_vec())),
            }
            raw.broadcast(&end);
        }
        raw.broadcast(&Message::request(200, 1, mac(first)));
    }
}
