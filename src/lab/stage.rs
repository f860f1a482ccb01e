//! The stage: namespaces, the bridge, and child processes whose output is kept in files.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// The bridge of the lab, as config/lab.toml names it.
pub(super) const BRIDGE: &str = "lab0";
/// The server's address and the prefix of the bridge.
pub(super) const BRIDGE_ADDRESS: &str = "10.99.0.1/24";
/// The same for IPv6.
pub(super) const BRIDGE_ADDRESS6: &str = "fd00:99::1/64";
/// The bridge of the router's guest that its prefix is for.
pub(super) const INSIDE: &str = "inside0";
/// Where the configuration says that state and control socket are.
const RUN: &str = "/run/foreshadow";

/// A `/run` of the lab's own with the state directory on the disk below `dir`, and the bridge.
pub(super) fn build(dir: &Path) -> anyhow::Result<()> {
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    let (disk, state) = (dir.join("state"), Path::new(RUN).join("state"));
    for path in [&disk, &state] {
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    }
    // What programs read there is about the network namespace that it was mounted in.
    run("mount", &["-t", "sysfs", "sysfs", "/sys"])?;
    run("mount", &["--bind", &disk.to_string_lossy(), &state.to_string_lossy()])?;
    be_quick("")?;
    ip("link set lo up")?;
    ip(&format!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0"))?;
    ip(&format!("addr add {BRIDGE_ADDRESS} dev {BRIDGE}"))?;
    ip(&format!("addr add {BRIDGE_ADDRESS6} dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))
}

/// A guest: a namespace whose `eth0` is plugged into the bridge.
pub(super) fn plug_in(guest: &str, mac: &str) -> anyhow::Result<()> {
    ip(&format!("netns add {guest}"))?;
    be_quick(&format!("ip netns exec {guest} "))?;
    let port = port_of(guest);
    ip(&format!("link add {port} type veth peer name eth0 address {mac} netns {guest}"))?;
    ip(&format!("link set {port} master {BRIDGE} up"))?;
    ip(&format!("-n {guest} link set eth0 up"))
}

/// The port of the bridge that a guest is behind.
pub(super) fn port_of(guest: &str) -> String {
    format!("to-{guest}")
}

/// A segment behind a guest, without an address.
pub(super) fn segment_behind(guest: &str) -> anyhow::Result<()> {
    ip(&format!("-n {guest} link add {INSIDE} type bridge stp_state 0 forward_delay 0"))?;
    ip(&format!("-n {guest} link set {INSIDE} up"))
}

/// Interfaces made from now on use their IPv6 addresses at once: nobody else has them here, and
/// clients do not wait for the second that proving it takes.
fn be_quick(inside: &str) -> anyhow::Result<()> {
    let key = "/proc/sys/net/ipv6/conf/default/accept_dad";
    run("sh", &["-c", &format!("{inside}sh -c 'echo 0 > {key}'")])
}

/// Runs `ip` with these words.
pub(super) fn ip(words: &str) -> anyhow::Result<()> {
    run("ip", &words.split_whitespace().collect::<Vec<_>>())
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !done.status.success() {
        let error = String::from_utf8_lossy(&done.stderr);
        bail!("{program} {}: {}", args.join(" "), error.trim());
    }
    Ok(())
}

/// A child process of the lab.
pub(super) struct Actor {
    child: Child,
}

impl Actor {
    /// Starts a program whose output is appended to `log`, in a process group of its own, so that
    /// Ctrl-C in the terminal is the lab's alone to hear.
    pub(super) fn start(mut command: Command, log: &Path) -> anyhow::Result<Actor> {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().with_context(|| format!("open {}", log.display()))?;
        let errors = open().with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Actor { child })
    }

    /// Sends a signal by name.
    pub(super) fn signal(&self, name: &str) -> anyhow::Result<()> {
        run("sh", &["-c", &format!("kill -s {name} {}", self.child.id())])
    }

    /// Ends it without asking, as a crash would.
    pub(super) fn crash(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill the server")?;
        self.child.wait().context("wait for the server's end")?;
        Ok(())
    }

    /// Whether it has ended, and how.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<String>> {
        let status = self.child.try_wait().context("look after a child process")?;
        Ok(status.map(|status| status.to_string()))
    }
}

/// A file that others append to, read line by line as it grows.
pub(super) struct Tail {
    path: PathBuf,
    from: usize,
}

impl Tail {
    /// From the first line on; the file need not be there yet.
    pub(super) fn of(path: PathBuf) -> Tail {
        Tail { path, from: 0 }
    }

    /// The whole lines that are new since the last call.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let new = bytes.get(self.from..).unwrap_or_default();
        let Some(end) = new.iter().rposition(|b| *b == b'\n') else { return Vec::new() };
        let whole = new.get(..=end).unwrap_or_default();
        self.from += whole.len();
        String::from_utf8_lossy(whole).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_tail_gives_whole_lines_once() {
        let path = std::env::temp_dir().join(format!("foreshadow-tail-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail::of(path.clone());
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.lines(), ["one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(tail.lines(), ["two"]);
        assert!(tail.lines().is_empty());
        fs::remove_file(path).unwrap();
    }
}
