//! What was acknowledged is on the disk: crashes, syncs, reloads.

use std::collections::BTreeSet;
use std::fs;

use crate::common::crowd::Crowd;
use crate::common::crowd6::Crowd6;
use crate::common::dhcp::{self, Message};
use crate::common::link::{Raw, mac};
use crate::common::process::Proc;
use crate::common::server::{LAN6, Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_until};

/// A network of fifty thousand addresses.
fn wide_lan() -> String {
    calm_lan()
        .replace("10.77.1.0/24", "10.77.0.0/16")
        .replace("10.77.1.100-10.77.1.199", "10.77.8.0-10.77.207.255")
}

fn wide_world(name: &str) -> (World, Host) {
    let world = World::new(name);
    let server_host = world.host("server");
    server_host.bridge("br0", Some("10.77.1.1/16"));
    (world, server_host)
}

/// The server is killed three times in the midst of a crowd, with its writes slowed down, so that
/// an ACK before the write would be found out: every client that had its ACK gets the same
/// address again from the next server, and no address is given to anyone else.
#[test]
fn acknowledged_leases_survive_kill_9() {
    let (world, server_host) = wide_world("kill");
    let mut server = Server::start(&world, &server_host, &wide_lan());
    let host = world.client("crowd", &server_host, "br0");
    let mut crowd = Crowd::on(&host, 0);
    for round in 1..=3 {
        let _slow = slow_writes(&world, &server_host, &server);
        crowd.lease(1000, |acked| {
            if acked >= round * 300 {
                server.kill9();
            }
            acked < round * 300
        });
        crowd.settle();
        server.start_again();
    }
    assert!(crowd.acked.len() >= 900);
    assert_eq!(crowd.come_back(), Vec::<std::net::Ipv4Addr>::new(), "lost");
    let mut others = Crowd::on(&host, 1_000_000);
    others.lease(500, |_| true);
    let twice: Vec<_> = others.acked.keys().filter(|a| crowd.acked.contains_key(a)).collect();
    assert!(twice.is_empty(), "given twice: {twice:?}");
    let held: BTreeSet<String> = server
        .leases()
        .iter()
        .filter(|lease| lease["state"] == "leased")
        .filter_map(|lease| lease["address"].as_str().map(str::to_owned))
        .collect();
    let missing = |addr: &&std::net::Ipv4Addr| !held.contains(&addr.to_string());
    assert_eq!(crowd.acked.keys().chain(others.acked.keys()).find(missing), None);
}

/// The server is killed three times in the midst of a crowd that wants addresses and prefixes,
/// with its writes slowed down: every client that had its REPLY renews what it was given, and
/// nothing is given to anyone else.
#[test]
fn acknowledged_v6_leases_survive_kill_9() {
    let (world, server_host) = World::with_bridge("kill6");
    let body = calm_lan() + &LAN6.replace("::1fff", "::ffff");
    let mut server = Server::start(&world, &server_host, &body);
    let host = world.client("crowd", &server_host, "br0");
    let mut crowd = Crowd6::on(&host, 0);
    for round in 1..=3 {
        let _slow = slow_writes(&world, &server_host, &server);
        crowd.lease(1000, |served| {
            if served >= round * 200 {
                server.kill9();
            }
            served < round * 200
        });
        crowd.settle();
        server.start_again();
        let held = server.leases();
        let kept = |name: &&String| {
            let of = |l: &&serde_json::Value| l["address"] == name.as_str();
            held.iter().find(of).is_some_and(|lease| lease["state"] == "leased")
        };
        assert_eq!(crowd.acked.keys().find(|name| !kept(name)), None, "lost in round {round}");
    }
    assert!(crowd.served() >= 600);
    assert_eq!(crowd.renew_all(), Vec::<String>::new(), "not renewed");
    let mut others = Crowd6::on(&host, 1_000_000);
    others.lease(300, |_| true);
    let twice: Vec<_> = others.acked.keys().filter(|a| crowd.acked.contains_key(*a)).collect();
    assert!(twice.is_empty(), "given twice: {twice:?}");
    let hardware = server.lease_named(others.acked.keys().next().unwrap()).unwrap();
    let own = others.acked.values().next().unwrap().map(|b| format!("{b:02x}")).join(":");
    assert_eq!(hardware["hardware"], own.as_str());
}

/// Makes each write of the server to a file take 20 ms longer.
fn slow_writes(world: &World, host: &Host, server: &Server) -> Proc {
    server.tamper(world, host, &["-e", "inject=pwrite64:delay_enter=20000"])
}

/// The system calls of an exchange: the journal's data sync returns after the REQUEST came and
/// before the ACK is handed to the kernel.
#[test]
fn the_sync_comes_before_the_ack() {
    require("strace", "strace");
    let (world, server_host) = World::with_bridge("strace");
    let server = Server::start(&world, &server_host, &calm_lan());
    let trace = world.dir().join("trace");
    let pid = server.proc.pid().to_string();
    let calls = "trace=fdatasync,fsync,sendmsg,sendmmsg,sendto,write,recvmsg,recvmmsg,recvfrom";
    let path = trace.to_str().unwrap();
    let argv =
        ["strace", "-f", "-y", "-xx", "-s", "2000", "-e", calls, "-o", path, "-p", pid.as_str()];
    let mut strace = world.spawn(&server_host, "strace", &argv);
    strace.wait_line("attached");
    let host = world.client("client", &server_host, "br0");
    let got = Raw::on(&host).lease(mac(1));
    // The client may have its ACK before the call that sent it returns, and is written down.
    let is = |line: &str, call: &str, kind: u8| line.contains(call) && line.contains(&hex_of(kind));
    wait_until("the ACK in the trace", PATIENCE, || {
        let text = fs::read_to_string(&trace).unwrap();
        text.lines().any(|line| is(line, "send", dhcp::ACK))
    });
    strace.stop();

    let text = fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let find = |from: usize, like: &dyn Fn(&str) -> bool| {
        lines.iter().skip(from).position(|line| like(line)).map(|at| at + from)
    };
    let came = find(0, &|l| is(l, "recv", dhcp::REQUEST)).expect("the REQUEST in the trace");
    let sent = find(came, &|l| is(l, "send", dhcp::ACK)).expect("the ACK in the trace");
    let synced = find(came, &|line| line.contains("fdatasync") && line.ends_with("= 0"))
        .unwrap_or_else(|| panic!("no data sync after the REQUEST for {}", got.addr));
    assert!(synced < sent, "ACK at line {sent}, sync at line {synced} of {path}");
    let begun = lines[came..=synced].iter().any(|l| l.contains("fdatasync(") && is_journal(l));
    assert!(begun, "the sync is not of the journal: {}", lines[synced]);
}

/// How `strace -xx` writes the option that holds a message type.
fn hex_of(kind: u8) -> String {
    format!("\\x35\\x01\\x{kind:02x}")
}

/// Whether a line of `strace -y` is about a file of the journal; `-xx` spells paths in hex too.
fn is_journal(line: &str) -> bool {
    let hex: String = b"journal".iter().map(|b| format!("\\x{b:02x}")).collect();
    line.contains("journal") || line.contains(&hex)
}

/// Reloads in the midst of a crowd lose no packet: nobody has to send twice, nobody hears a NAK,
/// and the new policy is in the next answers. A bad file leaves the policy as it was.
#[test]
fn reload_under_load_loses_nothing() {
    let (world, server_host) = wide_world("reload");
    let mut server = Server::start(&world, &server_host, &wide_lan());
    let host = world.client("crowd", &server_host, "br0");
    let mut crowd = Crowd::on(&host, 0);
    let with_dns = |last: usize| wide_lan().replace("10.77.1.54", &format!("10.77.1.{last}"));
    crowd.lease(1000, |acked| {
        if acked % 50 == 0 {
            server.write_config(&with_dns(acked / 50));
            server.hang_up();
        }
        true
    });
    assert_eq!((crowd.resent, crowd.naks), (0, 0));
    let mut raw = Raw::on(&host);
    let mut second_dns = || {
        let (xid, me) = (raw.xid(), mac(9_999_999));
        let discover = Message::request(dhcp::DISCOVER, xid, me).with(55, &[6]);
        raw.ask(&discover).and_then(|seen| seen.message.option(6)).map(|dns| dns[7])
    };
    wait_until("the last policy", PATIENCE, || second_dns() == Some(20));

    server.write_config(&with_dns(99).replace("prefix =", "prefixx ="));
    server.hang_up();
    server.proc.wait_line("prefixx");
    assert_eq!(second_dns(), Some(20));
    assert_eq!(crowd.come_back(), Vec::<std::net::Ipv4Addr>::new());
}
