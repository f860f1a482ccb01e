//! What the tests against real components share: namespaces, processes, frames, clients, servers.

pub(crate) mod api;
pub(crate) mod clients;
pub(crate) mod clients6;
pub(crate) mod crowd;
pub(crate) mod crowd6;
pub(crate) mod dhcp;
pub(crate) mod dhcp6;
pub(crate) mod link;
pub(crate) mod link6;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod world;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything on an idle machine may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails the test, naming the Debian package, unless the program is installed.
pub(crate) fn require(program: &str, package: &str) {
    let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .any(|dir| std::path::Path::new(dir).join(program).exists());
    assert!(found, "{program} is missing: apt-get install {package}");
}

/// Waits until `look` sees something, and returns it; fails the test if it never does.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, patience: Duration, look: impl FnMut() -> Option<T>) -> T {
    let Some(found) = look_for(patience, look) else {
        panic!("{what}: not within {} s", patience.as_secs());
    };
    found
}

/// Waits until `look` is true.
#[track_caller]
pub(crate) fn wait_until(what: &str, patience: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, patience, || look().then_some(()));
}

/// What `look` sees before `patience` is over, if anything.
///
/// The one place where tests pause: `look` is asked again every few milliseconds.
pub(crate) fn look_for<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
