//! Virtual machines whose firmware (iPXE, in QEMU's software emulation) boots over the network.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::dhcp;
use crate::common::link::Sniffer;
use crate::common::process::Proc;
use crate::common::server::{Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_for};

/// iPXE is told its script, and not to wait for a proxy (option 175, sub-option 176).
const BOOT: &str = r#"
[[class]]
name = "ipxe"
match = { user_class = ["iPXE"] }
boot_file = "http://10.77.1.1:8080/boot.ipxe"
options = { "175" = { hex = "b00101", always = true } }
"#;

/// Reports back over HTTP which machine runs it and which address it has.
const SCRIPT: &str = "#!ipxe\nchain http://10.77.1.1:8080/up/${net0/mac:hexhyp}/${net0/ip}\n";

/// A web server in a thread: one script, and a list of what was asked for.
fn web(host: &Host) -> Arc<Mutex<Vec<String>>> {
    let listener = host.enter(|| TcpListener::bind("10.77.1.1:8080")).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = if path == "/boot.ipxe" { SCRIPT } else { "#!ipxe\nexit\n" };
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            drop(stream.write_all((head + body).as_bytes()));
            record.lock().unwrap().push(path);
        }
    });
    asked
}

fn machine(world: &World, host: &Host, number: usize) -> Proc {
    let tap = format!("tap{number}");
    host.ip(&format!("tuntap add dev {tap} mode tap"));
    host.ip(&format!("link set {tap} master br0 up"));
    let netdev = format!("tap,id=n0,ifname={tap},script=no,downscript=no");
    let device = format!("virtio-net-pci,netdev=n0,bootindex=1,mac=52:54:00:00:00:{number:02x}");
    let argv = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-machine",
        "pc",
        "-cpu",
        "max",
        "-m",
        "64",
        "-display",
        "none",
        "-nodefaults",
        "-vga",
        "none",
        "-no-reboot",
        "-serial",
        "none",
        "-monitor",
        "none",
        "-netdev",
        netdev.as_str(),
        "-device",
        device.as_str(),
    ];
    world.spawn(host, &format!("machine{number}"), &argv)
}

/// `count` machines are switched on at once; each gets one lease at the first try and its script
/// runs there.
fn boot(count: usize) {
    require("qemu-system-x86_64", "qemu-system-x86");
    let rom = std::path::Path::new("/usr/lib/ipxe/qemu/pxe-virtio.rom");
    assert!(rom.exists(), "{} is missing: apt-get install ipxe-qemu", rom.display());
    let (world, server_host) = World::with_bridge("boot");
    let body = calm_lan().replace("verify = false", "verify = true") + BOOT;
    let _server = Server::start(&world, &server_host, &body);
    let asked = web(&server_host);
    let sniffer = Sniffer::on(&server_host, "br0");
    let _machines: Vec<_> = (0..count).map(|n| machine(&world, &server_host, n)).collect();
    let reports = wait_for("every machine's script to run", PATIENCE * 3, || {
        let asked = asked.lock().unwrap();
        let reports = asked.iter().filter_map(|path| path.strip_prefix("/up/")?.split_once('/'));
        let reports: BTreeMap<_, _> = reports.map(|(m, a)| (m.to_owned(), a.to_owned())).collect();
        (reports.len() == count).then_some(reports)
    });
    for number in 0..count {
        let mac = [0x52, 0x54, 0, 0, 0, number as u8];
        let name = format!("52-54-00-00-00-{number:02x}");
        let of_machine = |kind: u8| {
            let mut seen = sniffer.all();
            seen.retain(|s| s.message.chaddr == mac && s.message.kind() == kind);
            seen
        };
        let acks = of_machine(dhcp::ACK);
        assert_eq!(acks.len(), 1, "ACKs for {name}");
        assert_eq!(reports.get(&name), Some(&acks[0].message.yiaddr.to_string()));
        assert_eq!(of_machine(dhcp::REQUEST).len(), 1, "REQUESTs of {name}");
        assert!(of_machine(dhcp::NAK).is_empty(), "a NAK for {name}");
    }
}

/// See [`boot`].
#[test]
fn a_machine_boots_by_ipxe() {
    boot(1);
}

/// See [`boot`].
#[test]
fn eight_machines_boot_at_once() {
    boot(8);
}
