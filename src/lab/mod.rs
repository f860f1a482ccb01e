//! `foreshadow lab`: the server and real DHCP clients at work, where they harm nobody.
//!
//! The lab runs itself a second time by `unshare`, in mount, network and process namespaces of
//! its own. In there it builds a bridge with guests on it, starts the server as a child with the
//! store on the real disk, and tells what happens. When the inner process ends, however it ends,
//! the kernel takes every process, interface and mount of the lab with it; only a directory
//! below `/var/tmp` is left for the outer one to remove.
//!
//! `stage` builds the network and starts processes, `guest` knows the clients, `play` is
//! what is shown.

mod guest;
mod play;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What `foreshadow lab` understands.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// End after this many seconds, instead of on Ctrl-C
    #[arg(long = "for", value_name = "SECS")]
    pub seconds: Option<u64>,
    /// The lab's second self, inside its namespaces; files go to this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub inside: Option<PathBuf>,
}

/// Programs that the lab runs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("dhclient", "isc-dhcp-client"),
    ("udhcpc", "udhcpc"),
    ("dhcpcd", "dhcpcd-base"),
];

/// CAP_NET_ADMIN and CAP_SYS_ADMIN, as bits of `/proc/self/status`.
const NEEDED_CAPABILITIES: u64 = 1 << 12 | 1 << 21;

/// Runs the lab until Ctrl-C, or for as long as the arguments say.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.inside {
        Some(dir) => play::play(dir, args.seconds.map(Duration::from_secs)),
        None => outside(args),
    }
}

/// Checks that all is there, runs the lab inside its namespaces, and removes its directory.
fn outside(args: &Args) -> anyhow::Result<()> {
    check_privilege()?;
    check_programs(|program| find(program).is_some())?;
    let dir = PathBuf::from(format!("/var/tmp/foreshadow-lab-{}", std::process::id()));
    fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    let ended = enter(args, &dir).and_then(wait);
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    let status = ended?;
    if !status.success() {
        bail!("the lab failed ({status})");
    }
    Ok(())
}

/// Starts the inner lab. Its standard input is a pipe that ends when it is to end.
fn enter(args: &Args, dir: &Path) -> anyhow::Result<Child> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(own).args(["lab", "--inside"]).arg(dir);
    if let Some(seconds) = args.seconds {
        command.arg("--for").arg(seconds.to_string());
    }
    command.stdin(Stdio::piped()).spawn().context("start unshare")
}

/// Waits for the inner lab, and tells it to end when a signal says so.
fn wait(mut child: Child) -> anyhow::Result<ExitStatus> {
    let over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&over)).context("listen for signals")?;
    }
    loop {
        if over.load(Ordering::Relaxed) {
            drop(child.stdin.take());
        }
        if let Some(status) = child.try_wait().context("wait for the lab")? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn check_privilege() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    if effective.unwrap_or(0) & NEEDED_CAPABILITIES != NEEDED_CAPABILITIES {
        bail!("the lab makes network namespaces, and that takes root: sudo foreshadow lab");
    }
    Ok(())
}

/// Names every program that is missing, and the packages to install, in one go.
fn check_programs(is_there: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !is_there(program));
    let (names, packages): (Vec<_>, Vec<_>) = missing.copied().unzip();
    if !names.is_empty() {
        bail!("not installed: {}; apt-get install {}", names.join(", "), packages.join(" "));
    }
    Ok(())
}

/// Where a program is: in the search path, or where Debian keeps system programs.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|p| p.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_outside_the_path_too() {
        assert!(find("ip").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }

    #[test]
    fn missing_programs_are_named_with_their_packages() {
        let error = check_programs(|program| !program.ends_with("dhcpc")).unwrap_err();
        assert_eq!(error.to_string(), "not installed: udhcpc; apt-get install udhcpc");
        assert!(check_programs(|_| true).is_ok());
    }
}
