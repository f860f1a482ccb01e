//! What the lab shows, scene by scene, inside its namespaces.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::api::view::StatusView;

use super::guest::{Guest, Kind, Told};
use super::stage::{self, Actor, Tail};

const CONFIG: &str = include_str!("../../config/lab.toml");

/// How long the lab waits for anything before it says that it failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what happened.
const GLANCE: Duration = Duration::from_millis(50);

/// The lab at work.
struct Lab {
    began: Instant,
    ends: Option<Instant>,
    over: Arc<AtomicBool>,
    config: PathBuf,
    log_path: PathBuf,
    log: Tail,
    server: Option<Actor>,
    ready: bool,
    guests: Vec<Guest>,
}

/// Why a scene ended before it was complete.
enum Cut {
    /// Ctrl-C, or the time is over.
    TheEnd,
    /// Something failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Cut {
    fn from(error: anyhow::Error) -> Cut {
        Cut::Failed(error)
    }
}

/// Plays all scenes, then goes on watching, until the standard input ends or the time is over.
pub(super) fn play(dir: &Path, length: Option<Duration>) -> anyhow::Result<()> {
    let began = Instant::now();
    let config = dir.join("lab.toml");
    fs::write(&config, CONFIG).with_context(|| format!("write {}", config.display()))?;
    let log_path = dir.join("server.log");
    let mut lab = Lab {
        began,
        ends: length.map(|length| began + length),
        over: when_input_ends(),
        config,
        log: Tail::of(log_path.clone()),
        log_path,
        server: None,
        ready: false,
        guests: Vec::new(),
    };
    match lab.scenes(dir) {
        Ok(()) | Err(Cut::TheEnd) => lab.curtain(),
        Err(Cut::Failed(error)) => {
            for guest in &lab.guests {
                lab.say(&format!("last of {}:\n{}", guest.kind.name(), guest.last_words()));
            }
            Err(error)
        }
    }
}

/// A flag that is raised when the standard input ends: the outer process has closed it or died.
fn when_input_ends() -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&over);
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while io::stdin().read(&mut bytes).is_ok_and(|n| n > 0) {}
        flag.store(true, Ordering::Relaxed);
    });
    over
}

impl Lab {
    fn scenes(&mut self, dir: &Path) -> Result<(), Cut> {
        self.build(dir)?;
        self.arrivals()?;
        self.renewals()?;
        self.crash()?;
        self.departure()?;
        self.takeover(dir)?;
        self.say("that was all; the guests go on renewing. Ctrl-C ends the lab");
        self.watch("the end", None, |_| false)
    }

    fn build(&mut self, dir: &Path) -> Result<(), Cut> {
        self.say(&format!(
            "a network that only this lab sees: bridge {} with {} and {},",
            stage::BRIDGE,
            stage::BRIDGE_ADDRESS,
            stage::BRIDGE_ADDRESS6
        ));
        self.say("three guests on it, and a router with a segment of its own behind it");
        stage::build(dir)?;
        for kind in Kind::ALL {
            self.guests.push(Guest::new(kind, dir)?);
        }
        self.say("the server starts, and probes its pool by ARP in the background, so that an");
        self.say("OFFER takes an address that is proven free, and waits for nothing");
        self.serve()?;
        self.watch("the first proofs", Some(PATIENCE), |lab| lab.proven() >= Kind::ALL.len())?;
        self.say(&format!("proven free so far: {} addresses", self.proven()));
        Ok(())
    }

    /// How many addresses the server's verifier has proven free.
    fn proven(&self) -> usize {
        let Ok(status) = self.ask(&["status", "--json"]) else { return 0 };
        let status: Option<StatusView> = serde_json::from_str(&status).ok();
        let proven = status.map(|s| s.networks.iter().map(|n| n.proven).sum::<u64>());
        proven.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    /// What a subcommand says about the running server.
    fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        let own = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(own);
        command.args(words).arg("--config").arg(&self.config);
        let done = command.output().context("start a subcommand")?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Starts the server and waits until it is ready.
    fn serve(&mut self) -> Result<(), Cut> {
        let own = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(own);
        command.arg("serve").arg("--config").arg(&self.config);
        self.ready = false;
        self.server = Some(Actor::start(command, &self.log_path)?);
        self.watch("the server to be ready", Some(PATIENCE), |lab| lab.ready)
    }

    fn arrivals(&mut self) -> Result<(), Cut> {
        self.say("dhclient, udhcpc and dhcpcd ask for an address: DISCOVER, OFFER, REQUEST, ACK;");
        self.say(
            "and over IPv6, where the router asks for a prefix too: SOLICIT, ADVERTISE, REQUEST,",
        );
        self.say(
            "REPLY (for udhcpc, which speaks IPv4 only, dhclient -6 does it). Each ACK and REPLY",
        );
        self.say("leaves only after the journal that holds its lease is synced to disk");
        for guest in &mut self.guests {
            guest.start()?;
        }
        self.watch("every guest to have both addresses", Some(PATIENCE), |lab| {
            lab.guests.iter().all(Guest::is_settled)
        })
    }

    fn renewals(&mut self) -> Result<(), Cut> {
        self.say("T1 is 5 s here: the guests renew, and keep what they have");
        self.renew_all("every guest to renew")
    }

    /// Waits until every guest has renewed once more.
    fn renew_all(&mut self, what: &str) -> Result<(), Cut> {
        let counts = |lab: &Lab| {
            let both = lab.guests.iter().flat_map(|g| [g.four.renewals, g.six.renewals]);
            both.collect::<Vec<_>>()
        };
        let before = counts(self);
        for guest in &self.guests {
            guest.renew()?;
        }
        self.watch(what, Some(PATIENCE), |lab| {
            counts(lab).iter().zip(&before).all(|(now, before)| now > before)
        })
    }

    fn crash(&mut self) -> Result<(), Cut> {
        let before = self.holdings();
        self.say("now the server is killed as by a crash (kill -9), and started again:");
        self.say("what it acknowledged is on the disk, so every guest keeps what it has");
        if let Some(server) = &mut self.server {
            server.crash()?;
        }
        self.serve()?;
        self.show_leases()?;
        self.renew_all("every guest to renew at the new server")?;
        let after = self.holdings();
        if before != after {
            bail_cut(format!("the restart changed something: {before:?}, then {after:?}"))?;
        }
        self.say("same addresses and prefix as before the crash");
        Ok(())
    }

    fn departure(&mut self) -> Result<(), Cut> {
        self.say("udhcpc gives its addresses back; they are free, and remembered for it");
        let is_udhcpc = |guest: &&Guest| guest.kind == Kind::Udhcpc;
        if let Some(guest) = self.guests.iter().find(is_udhcpc) {
            guest.release()?;
        }
        self.watch("the release", Some(PATIENCE), |lab| {
            lab.guests.iter().find(is_udhcpc).is_none_or(Guest::is_gone)
        })?;
        self.show_leases()?;
        Ok(())
    }

    /// An address twice, and given from one guest to the other.
    fn takeover(&mut self, dir: &Path) -> Result<(), Cut> {
        let held = self.guests.iter().find(|guest| guest.kind == Kind::Dhclient);
        let Some(address) = held.and_then(|guest| guest.four.address.clone()) else {
            return bail_cut("dhclient has no address".into());
        };
        self.say("now a standby: the agent of this host makes a gate on the bridge, and behind it");
        self.say(&format!("another guest boots with {address} too. dhclient goes on as ever, and"));
        self.say("nobody hears of the standby");
        let own = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(own);
        command.args(["agent", "run"]);
        // It ends with the lab.
        Actor::start(command, &dir.join("agent.log"))?;
        let (mac, port) = (Kind::Standby.mac(), Kind::Standby.port());
        let mut standby = Guest::new(Kind::Standby, dir)?;
        let active_port = Kind::Dhclient.port();
        let pair = ["--network", "lab", "--id", "shadow", "--address", &address];
        let ends = ["--active-port", &active_port, "--standby-port", &port, "--standby-mac", &mac];
        self.ask(&[&["standby", "add"], &pair[..], &ends].concat())?;
        standby.start()?;
        self.guests.push(standby);
        let has = |lab: &Lab, kind: Kind| {
            let guest = lab.guests.iter().find(|guest| guest.kind == kind);
            guest.is_some_and(|guest| guest.four.address.as_ref() == Some(&address))
        };
        self.watch("the standby to have it", Some(PATIENCE), |lab| has(lab, Kind::Standby))?;
        self.say("both have it. Planned, one frame gives it to the standby:");
        self.ask(&["standby", "report", "shadow", "ready"])?;
        let report = self.ask(&["standby", "switch", "shadow"])?;
        report.lines().for_each(|line| print(&format!("            {line}")));
        if !report.contains("nobody answered for") {
            bail_cut("the switchover failed".into())?;
        }
        self.say("dhclient is behind the gate now: nobody hears it say anything of the address");
        self.show_leases()?;
        Ok(())
    }

    /// The end: every guest gives back what it has.
    fn curtain(&mut self) -> anyhow::Result<()> {
        self.say("the end: the guests give back what they have");
        for guest in &self.guests {
            guest.release()?;
        }
        self.ends = None;
        self.over = Arc::default();
        let released = |lab: &Lab| lab.guests.iter().all(Guest::is_gone);
        if self.server.is_some() {
            // A guest that was cut short in the middle of something may not answer any more.
            let _ = self.watch("the releases", Some(Duration::from_secs(5)), released);
        }
        self.say("nothing is left behind: namespaces, processes and files go with the lab");
        Ok(())
    }

    /// Tells what happens until `done`, the end of the lab, or the end of `patience`.
    fn watch(
        &mut self,
        what: &str,
        patience: Option<Duration>,
        done: impl Fn(&Lab) -> bool,
    ) -> Result<(), Cut> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            self.tell();
            if done(self) {
                return Ok(());
            }
            if self.over.load(Ordering::Relaxed) || self.ends.is_some_and(|e| e <= Instant::now()) {
                return Err(Cut::TheEnd);
            }
            if let Some(status) = self.server.as_mut().map(Actor::ended).transpose()?.flatten() {
                bail_cut(format!("the server ended ({status})"))?;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                bail_cut(format!("waited in vain for {what}"))?;
            }
            thread::sleep(GLANCE);
        }
    }

    /// Prints what is new: the server's own log, and what the guests' clients report.
    fn tell(&mut self) {
        for line in self.log.lines() {
            self.ready |= line.contains("ready");
            print(&format!("            server   | {}", without_detail(&line)));
        }
        let mut told = Vec::new();
        for guest in &mut self.guests {
            for news in guest.news() {
                told.push((guest.kind.name(), news));
            }
        }
        for (who, news) in told {
            let text = match news {
                Told::Bound(address, lease) => format!("has {address} for {lease} s"),
                Told::Renewed(address, lease) => format!("renewed {address} for {lease} s"),
                Told::Delegated(prefix) => format!("has the prefix {prefix}"),
                Told::Numbered(address) => format!("gave {address} to {}", stage::INSIDE),
                Told::Gone(address) => format!("gave {address} back"),
            };
            print(&format!("            {who:<8} | {text}"));
        }
    }

    /// What every guest has.
    fn holdings(&self) -> Vec<[Option<String>; 4]> {
        self.guests.iter().map(Guest::holds).collect()
    }

    /// The table that an operator sees.
    fn show_leases(&self) -> anyhow::Result<()> {
        let table = self.ask(&["leases", "list"])?;
        self.say("foreshadow leases list:");
        for line in table.lines() {
            print(&format!("            {line}"));
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        print(&format!("[{:>6.1} s]  {text}", self.began.elapsed().as_secs_f32()));
    }
}

/// A line of the server's log without its time and the client's key, which the table has too.
fn without_detail(line: &str) -> String {
    let is_time = |word: &str| word.ends_with('Z') && word.contains('T');
    let words = line.split(' ').filter(|word| !is_time(word) && !word.starts_with("id="));
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn bail_cut(why: String) -> Result<(), Cut> {
    let fail = || -> anyhow::Result<()> { bail!(why) };
    Ok(fail()?)
}

/// Writes a line; who watches may have gone, and the lab ends all the same.
fn print(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn log_lines_lose_what_is_said_elsewhere() {
        let line = "2026-11-22T16:26:23.3Z  INFO leased address=10.99.0.1 id=hw:01:02 took_us=7";
        assert_eq!(super::without_detail(line), "INFO leased address=10.99.0.1 took_us=7");
    }

    #[test]
    fn the_configuration_is_sound() {
        let checked = crate::config::check(super::CONFIG, "config/lab.toml");
        assert!(checked.is_ok(), "{}", checked.err().map_or_else(String::new, |e| e.render(false)));
    }
}
