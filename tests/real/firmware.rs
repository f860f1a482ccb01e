//! Virtual machines whose firmware (iPXE or UEFI, in QEMU's software emulation) boots over the
//! network.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::dhcp;
use crate::common::dhcp6;
use crate::common::link::Sniffer;
use crate::common::process::Proc;
use crate::common::server::{LAN6, Server, calm_lan};
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

/// The card's own ROM is iPXE.
const IPXE: &str = " -machine pc -m 64 -serial none";

/// Reports back over HTTP which machine runs it and which address it has.
const SCRIPT: &str = "#!ipxe\nchain http://10.77.1.1:8080/up/${net0/mac:hexhyp}/${net0/ip}\n";

/// UEFI asks for PXE first, then for HTTP boot over IPv4, then over IPv6; it believes an answer to
/// HTTP boot only if that says `HTTPClient` too (UEFI 2.10 s24.7), which nobody configures.
const UEFI: &str = r#"
[[class]]
name = "uefi-pxe"
match = { arch = [7] }
boot_file_url = "tftp://[2001:db8:77:1::1]/pxe.efi"
[[class]]
name = "uefi-http"
match = { arch = [16] }
boot_file = "http://10.77.1.1:8080/four.efi"
boot_file_url = "http://[2001:db8:77:1::1]:8080/six.efi"
"#;

/// A web server in a thread: one script, and a list of what was asked for.
fn web(host: &Host, at: &str) -> Arc<Mutex<Vec<String>>> {
    let listener = host.enter(|| TcpListener::bind(at)).unwrap();
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

/// A machine whose network card is plugged into `br0`; `firmware` says what it starts with.
fn machine(world: &World, host: &Host, number: usize, firmware: &str) -> Proc {
    let tap = format!("tap{number}");
    host.ip(&format!("tuntap add dev {tap} mode tap"));
    host.ip(&format!("link set {tap} master br0 up"));
    let line = format!(
        "qemu-system-x86_64 -accel tcg -cpu max -display none -nodefaults -vga none -no-reboot \
         -monitor none -netdev tap,id=n0,ifname={tap},script=no,downscript=no \
         -device virtio-net-pci,netdev=n0,bootindex=1,mac=52:54:00:00:00:{number:02x}{firmware}"
    );
    let argv: Vec<_> = line.split_whitespace().collect();
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
    let asked = web(&server_host, "10.77.1.1:8080");
    let sniffer = Sniffer::on(&server_host, "br0");
    let _machines: Vec<_> = (0..count).map(|n| machine(&world, &server_host, n, IPXE)).collect();
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
        // A machine whose ACK waits for a slow disk asks again, and is told the same again.
        assert!(!acks.is_empty(), "no ACK for {name}");
        assert_eq!(acks.len(), of_machine(dhcp::REQUEST).len(), "ACKs for {name}");
        for ack in &acks {
            assert_eq!(reports.get(&name), Some(&ack.message.yiaddr.to_string()));
        }
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

/// A UEFI machine, without a router on its link, gets an address and the URL of its boot file by
/// DHCPv6, and fetches it: by TFTP, and when that has none, over HTTP of either family.
#[test]
fn a_uefi_machine_boots_over_ipv6() {
    require("qemu-system-x86_64", "qemu-system-x86");
    let code = std::path::Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd");
    assert!(code.exists(), "{} is missing: apt-get install ovmf", code.display());
    let (world, server_host) = World::with_bridge("uefi");
    server_host.ip("addr add 2001:db8:77:1::1/64 dev br0");
    let _server = Server::start(&world, &server_host, &(calm_lan() + LAN6 + UEFI));
    let four = web(&server_host, "10.77.1.1:8080");
    let six = web(&server_host, "[2001:db8:77:1::1]:8080");
    let tftp = server_host.enter(|| UdpSocket::bind("[2001:db8:77:1::1]:69")).unwrap();
    tftp.set_read_timeout(Some(PATIENCE * 4)).unwrap();
    let sniffer = Sniffer::on6(&server_host, "br0");
    let vars = world.dir().join("vars.fd");
    std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
    let firmware = format!(
        ",romfile= -machine q35 -m 256 -serial file:{} \
         -drive if=pflash,format=raw,readonly=on,file={} -drive if=pflash,format=raw,file={} \
         -object rng-random,filename=/dev/urandom,id=rng0 -device virtio-rng-pci,rng=rng0 \
         -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n",
        world.dir().join("console.log").display(),
        code.display(),
        vars.display()
    );
    let _machine = machine(&world, &server_host, 0, &firmware);

    let mut request = [0; 512];
    let (len, from) = tftp.recv_from(&mut request).expect("a TFTP request");
    assert!(request[..len].starts_with(b"\0\x01pxe.efi\0"), "{:?}", &request[..len]);
    let url = b"tftp://[2001:db8:77:1::1]/pxe.efi";
    let reply = sniffer.wait("a REPLY with the URL", |seen| {
        seen.message.kind == dhcp6::REPLY && seen.message.option(dhcp6::BOOT_FILE_URL) == Some(url)
    });
    assert_eq!(reply.eth_dst, [0x52, 0x54, 0, 0, 0, 0]);
    let SocketAddr::V6(from) = from else { panic!("TFTP from {from}") };
    assert_eq!(reply.message.addrs(), [*from.ip()]);
    tftp.send_to(b"\0\x05\0\x01no such file\0", from).unwrap();

    for (asked, path) in [(four, "/four.efi"), (six, "/six.efi")] {
        wait_for(&format!("{path} to be fetched"), PATIENCE * 4, || {
            asked.lock().unwrap().iter().any(|p| p == path).then_some(())
        });
    }
}
