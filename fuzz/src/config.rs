//! Any text as a configuration: it is a policy that an engine serves, or a bounded list of faults,
//! each with its place, its text, and a drawing.

use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Timestamp};
use foreshadow::config::{self, FAULTS_MAX, Fault, Faults, Loaded, Severity};
use foreshadow::engine::effects::LinkUp;
use foreshadow::engine::{Effects, Engine, Input};
use foreshadow::lease::Seq;

/// Tables and keys.
pub const WORDS: &[&[u8]] = &[
    b"[[network]]\n",
    b"[[network.subnet]]\n",
    b"[[network.reservation]]\n",
    b"[[network.subnet.pool]]\n",
    b"[[class]]\n",
    b"[server]\n",
    b"[store]\n",
    b"[log]\n",
    b"name = ",
    b"interfaces = ",
    b"relays = ",
    b"prefix = ",
    b"pools = ",
    b"delegations = ",
    b"options = {",
    b"options6 = {",
    b"verify = ",
    b"lease = {",
    b"identity = ",
    b"match = {",
    b"\"10.0.0.0/8\"",
    b"\"10.0.0.2-10.0.0.9\"",
    b"\"::/0\"",
    b"\"2001:db8::/64\"",
    b"\"0.0.0.0/0\"",
    b"\"255.255.255.255\"",
    b"\"infinite\"",
    b"\"99999999999d\"",
    b"\"\"\"",
    b"'''",
    b"\\u0000",
    b"-9223372036854775808",
    b"1979-05-27",
    b"nan",
    b"\n",
    b" = ",
    b"]",
    b"}",
];

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Plays one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match config::check(&text, "fuzz.toml") {
        Ok(loaded) => serve(&text, loaded),
        Err(faults) => refused(&text, &faults),
    }
}

fn refused(text: &str, faults: &Faults) {
    let list = faults.list();
    assert!(!list.is_empty() && list.len() <= FAULTS_MAX);
    assert!(list.iter().any(|fault| fault.severity == Severity::Error) || faults.more() > 0);
    list.iter().for_each(|fault| check_fault(text, fault));
    let drawn = faults.render(false);
    assert!(drawn.contains(&faults.summary()));
    // Each fault quotes lines of the file: no more than a few, and none of them twice as long.
    let line = text.lines().map(str::len).max().unwrap_or(0);
    assert!(drawn.len() <= (list.len() + 1) * (4096 + 200 * line), "{} bytes", drawn.len());
    assert_eq!(faults.to_string().lines().count(), list.len(), "{faults}");
}

fn check_fault(text: &str, fault: &Fault) {
    let lines = text.matches('\n').count() + 1;
    assert!(!fault.message.is_empty(), "{fault:?}");
    let is_line = |text: &str| !text.contains(|c: char| c.is_control());
    assert!(is_line(&fault.message) && is_line(&fault.expected), "{fault:?}");
    assert!(fault.line <= lines && (fault.line == 0) == (fault.column == 0), "{fault:?}");
    if fault.severity == Severity::Error {
        assert!(fault.line > 0, "{fault:?}");
    }
    if let Some(related) = &fault.related {
        assert!((1..=lines).contains(&related.line) && !related.message.is_empty(), "{fault:?}");
    }
}

/// What passed the check can be served.
fn serve(text: &str, loaded: Loaded) {
    loaded.warnings.iter().for_each(|fault| check_fault(text, fault));
    let links = loaded.check_links(&["br0".to_owned()]);
    let _ = (loaded.render(&loaded.warnings, true), loaded.render(&links, false));
    let networks: Vec<NetworkId> = loaded.policy.networks.iter().map(|n| n.id).collect();
    let mut engine = Engine::new(Arc::new(loaded.policy), Vec::new(), Seq(0));
    engine.set_identity(b"\0\x04our-own-duid-1234", [7; 16]);
    for (id, link) in networks.into_iter().take(4).zip(1..) {
        let up = LinkUp {
            link: LinkId(link),
            name: format!("br{link}").into(),
            network: id,
            mac: Mac([2, 0xff, 0, 0, 0, link as u8]),
            addrs: vec![],
            addrs6: vec!["fe80::1".parse().expect("an address")],
        };
        engine.handle(NOW, Input::LinkUp(up), &mut Effects::default());
        for packet in super::engine_v4::packets(link) {
            engine.handle(NOW, Input::Packet4(packet.0, &packet.1), &mut Effects::default());
        }
        for packet in super::engine_v6::packets(link) {
            engine.handle(NOW, Input::Packet6(packet.0, &packet.1), &mut Effects::default());
        }
    }
    if let Some(due) = engine.next_wakeup() {
        engine.handle(due, Input::Tick, &mut Effects::default());
    }
}
