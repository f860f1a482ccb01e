//! Disks that fail, refuse, fill up and hang under the server: nothing is promised that is not on
//! them, what needs no disk goes on, operators hear of it, and service resumes by itself.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::common::crowd::Crowd;
use crate::common::dhcp::{self, Message};
use crate::common::link::{Raw, mac};
use crate::common::process::Proc;
use crate::common::server::{Server, Setup, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

/// All that the store does to make something durable.
const SYNCS: &str = "inject=fdatasync,fsync:error=EIO";
/// What a file system that became read-only refuses.
const WRITES: &str = "inject=pwrite64,openat,mkdir,rename,unlink,ftruncate:error=EROFS";
const CANNOT_WRITE: &str = "the store cannot write";
const SLOW: &str = "the disk is slow";

/// A server with a crowd of clients, a hundred of whom have their leases.
struct Sickroom {
    world: World,
    host: Host,
    guest: Host,
    server: Server,
    crowd: Crowd,
}

impl Sickroom {
    fn new(name: &str, state: Option<&str>) -> Sickroom {
        let world = World::new(name);
        let host = world.host("server");
        host.bridge("br0", Some("10.77.1.1/16"));
        Sickroom::on(world, host, Setup { state, ..Setup::default() })
    }

    fn on(world: World, host: Host, setup: Setup<'_>) -> Sickroom {
        let body = calm_lan()
            .replace("10.77.1.0/24", "10.77.0.0/16")
            .replace("10.77.1.100-10.77.1.199", "10.77.8.0-10.77.207.255");
        let body = format!("[store]\njournal = \"1MiB\"\n{body}");
        let server = Server::start_with(&world, &host, &body, setup);
        let guest = world.client("crowd", &host, "br0");
        let mut crowd = Crowd::on(&guest, 0);
        crowd.lease(100, |_| true);
        crowd.settle();
        Sickroom { world, host, guest, server, crowd }
    }

    fn tamper(&self, how: &[&str]) -> Proc {
        self.server.tamper(&self.world, &self.host, how)
    }

    fn state(&self) -> std::path::PathBuf {
        self.world.dir().join("state/store")
    }

    /// The disk cannot be written: nobody is acknowledged, everybody is offered something, and
    /// the operator is told.
    fn suffers(&mut self) {
        let before = self.crowd.acked.len();
        let server = &self.server;
        let crowd = &mut self.crowd;
        wait_until("the alarm", PATIENCE, || {
            crowd.insist(Duration::from_millis(200));
            server.has_alarm(CANNOT_WRITE)
        });
        self.crowd.insist(Duration::from_secs(1));
        assert_eq!(self.crowd.acked.len(), before, "acknowledged without a disk");
        assert_eq!(self.crowd.naks, 0);
        self.is_offered(1);
        let status = self.server.status();
        assert_eq!(status["store"]["writable"], false);
        assert!(status["packets"]["commits_failed"].as_u64() > Some(0), "{status}");
        assert!(status["packets"]["replies_lost"].as_u64() > Some(0), "{status}");
        assert!(self.server.proc.output().contains("commit failed"));
    }

    /// A new client is made an offer.
    fn is_offered(&self, number: u32) {
        let mut raw = Raw::on(&self.guest);
        let discover = Message::request(dhcp::DISCOVER, raw.xid(), mac(0x0800_0000 + number));
        let offer = raw.ask(&discover).expect("an OFFER without a disk");
        assert_eq!(offer.message.kind(), dhcp::OFFER);
    }

    /// The disk works again: so does the server, without help, and it has lost nothing.
    fn recovers(&mut self) {
        let (server, crowd) = (&self.server, &mut self.crowd);
        let before = crowd.acked.len();
        wait_until("service resumes", PATIENCE * 2, || {
            crowd.insist(Duration::from_millis(500));
            crowd.acked.len() > before
        });
        wait_until("the alarm ends", PATIENCE, || !server.has_alarm(CANNOT_WRITE));
        assert_eq!(server.status()["store"]["writable"], true);
        assert!(server.proc.output().contains("the store can write again"));
        self.crowd.settle();
        self.keeps_its_word();
    }

    /// After a kill -9, which leaves the server no time to make up for anything, everything that
    /// was acknowledged is there.
    fn keeps_its_word(&mut self) {
        self.server.kill9();
        self.server.start_again();
        assert_eq!(self.crowd.come_back(), Vec::<Ipv4Addr>::new(), "lost");
    }
}

/// What is in force in a store.
fn current(store: &Path) -> String {
    fs::read_to_string(store.join("CURRENT")).unwrap()
}

/// One sync fails, in the midst of a crowd. Linux has marked the pages clean that it could not
/// write, and the next sync of that file would succeed over a hole: the server writes everything
/// to new files.
#[test]
fn after_a_failed_sync_the_files_are_not_trusted() {
    let mut room = Sickroom::new("eio-once", None);
    let before = current(&room.state());
    let mut strace = room.tamper(&["-e", "inject=fdatasync:error=EIO:when=20"]);
    let acked = room.crowd.acked.len();
    let (server, crowd) = (&mut room.server, &mut room.crowd);
    wait_until("a failed commit", PATIENCE, || {
        crowd.insist(Duration::from_millis(200));
        server.proc.output().contains("commit failed")
    });
    strace.stop();
    assert!(room.server.status()["packets"]["commits_failed"].as_u64() > Some(0));
    room.recovers();
    assert!(room.crowd.acked.len() > acked);
    let after = current(&room.state());
    let journal = |text: &str| text.lines().find(|l| l.starts_with("journal")).map(str::to_owned);
    assert!(journal(&before).is_some() && journal(&before) != journal(&after), "{before}{after}");
}

/// Every sync fails, for as long as it takes.
#[test]
fn a_disk_that_fails_every_sync_gets_no_promise_out_of_the_server() {
    let mut room = Sickroom::new("eio", None);
    let mut strace = room.tamper(&["-e", SYNCS]);
    room.suffers();
    strace.stop();
    room.recovers();
}

/// Only the syncs behind the journal fail: commits go on, and the checkpoint is written anew.
#[test]
fn a_failing_checkpoint_holds_up_nobody() {
    let mut room = Sickroom::new("eio-behind", None);
    let db = room.state().join("checkpoint-1/db");
    let mut strace =
        room.tamper(&["-P", db.to_str().unwrap(), "-e", "inject=fdatasync,fsync:error=EIO"]);
    let (server, crowd) = (&room.server, &mut room.crowd);
    wait_until("a failed checkpoint", PATIENCE, || {
        crowd.lease(20, |_| true);
        server.proc.output().contains("checkpoint failed")
    });
    strace.stop();
    wait_until("another checkpoint", PATIENCE, || {
        server.proc.output().contains("the store can write again")
    });
    assert!(!current(&room.state()).contains("checkpoint 1\n"), "{}", current(&room.state()));
    room.recovers();
}

/// The file system becomes read-only, and is writable again.
#[test]
fn a_read_only_disk_is_waited_for() {
    let mut room = Sickroom::new("rofs", None);
    let mut strace = room.tamper(&["-e", WRITES]);
    room.suffers();
    strace.stop();
    room.recovers();
}

/// The disk fills up.
#[test]
fn a_full_disk_is_waited_for() {
    let world = World::new("enospc");
    let host = world.host("server");
    host.bridge("br0", Some("10.77.1.1/16"));
    let disk = world.dir().join("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap().to_owned();
    // The file system lives in the mount namespace of this process; the server joins it.
    let line = format!("mount -t tmpfs -o size=16M tmpfs {disk} && echo mounted; exec sleep 600");
    let mut holder = world.spawn(&host, "disk", &["sh", "-c", &line]);
    holder.wait_line("mounted");
    let setup = Setup { state: Some(&disk), mounts_of: Some(holder.pid()), ..Setup::default() };
    let filler = format!("/proc/{}/root{disk}/filler", holder.pid());
    let mut room = Sickroom::on(world, host, setup);
    fill(Path::new(&filler));
    // Journals have room of their own for a while: the crowd goes on until they have none.
    let crowd = &mut room.crowd;
    wait_until("the disk to be full for the server too", PATIENCE * 2, || {
        let before = crowd.acked.len();
        crowd.insist(Duration::from_secs(1));
        crowd.acked.len() == before
    });
    room.suffers();
    fs::remove_file(&filler).unwrap();
    room.recovers();
}

/// Writes until there is no room.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [65536, 4096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// Each sync takes long: an OFFER overtakes the ACK that waits for one, the operator is told, and
/// nothing is lost.
#[test]
fn a_slow_disk_delays_promises_alone() {
    let mut room = Sickroom::new("slow", None);
    let mut strace = room.tamper(&["-e", "inject=fdatasync:delay_enter=600000"]);
    let mut raw = Raw::on(&room.guest);
    let discover = Message::request(dhcp::DISCOVER, raw.xid(), mac(0x0800_0001));
    let offer = raw.ask(&discover).expect("an OFFER").message;
    let server = offer.server_id().unwrap();
    let request = Message::request(dhcp::REQUEST, raw.xid(), mac(0x0800_0001))
        .with(50, &offer.yiaddr.octets())
        .with(54, &server.octets());
    let other = Message::request(dhcp::DISCOVER, raw.xid(), mac(0x0800_0002));
    raw.broadcast(&request);
    raw.broadcast(&other);
    let mut order = Vec::new();
    wait_until("both answers", PATIENCE, || {
        let seen = raw.next_reply().map(|seen| seen.message);
        let ours = seen.filter(|m| m.xid == request.xid || m.xid == other.xid);
        order.extend(ours.map(|m| m.kind()));
        order.contains(&dhcp::ACK)
    });
    assert_eq!(order, [dhcp::OFFER, dhcp::ACK]);
    room.crowd.lease(60, |_| true);
    assert!(room.server.has_alarm(SLOW));
    assert!(!room.server.has_alarm(CANNOT_WRITE));
    room.server.proc.wait_line(SLOW);
    assert!(room.server.status()["packets"]["disk_slow"].as_u64() > Some(0));
    room.server.kill9();
    strace.wait_end();
    room.server.start_again();
    assert_eq!(room.crowd.come_back(), Vec::<Ipv4Addr>::new(), "lost");
}

/// A disk that hangs in a sync for longer than anybody looks: the alarm does not wait for its end,
/// and ends with it.
#[test]
fn a_hanging_disk_is_told_of_while_it_hangs() {
    let mut room = Sickroom::new("hangs", None);
    let mut strace = room.tamper(&["-e", "inject=fdatasync:delay_enter=3600000000"]);
    let (server, crowd) = (&mut room.server, &mut room.crowd);
    let before = crowd.acked.len();
    wait_until("the alarm", PATIENCE, || {
        crowd.insist(Duration::from_millis(200));
        server.has_alarm(SLOW)
    });
    server.proc.wait_line(SLOW);
    assert_eq!(crowd.acked.len(), before, "acknowledged without a disk");
    room.is_offered(3);
    strace.kill9();
    let (server, crowd) = (&mut room.server, &mut room.crowd);
    wait_until("service resumes", PATIENCE * 2, || {
        crowd.insist(Duration::from_millis(500));
        crowd.acked.len() > before
    });
    wait_until("the alarm ends", PATIENCE, || {
        crowd.insist(Duration::from_millis(100));
        !server.has_alarm(SLOW)
    });
    server.proc.wait_line("no longer slow");
    room.crowd.settle();
    room.keeps_its_word();
}
