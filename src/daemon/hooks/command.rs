//! One program that is run.

use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};

/// What a program finds in `PATH`; nothing else of the server's environment is handed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most bytes of a word that could be a percentage.
const WORD_MAX: usize = 32;

/// Runs a program with `body` on its standard input; only a status of 0 counts. Where nobody waits
/// any longer, it is killed with all that it started in its process group.
pub(in crate::daemon) async fn run(
    argv: &[Arc<str>],
    event: &str,
    body: &[u8],
) -> Result<(), String> {
    let mut group = start(argv, event, Stdio::null())?;
    group.hand(body).await;
    group.end(argv).await
}

/// The same, of a program that says how far it is: each percentage on its standard output is heard.
pub(in crate::daemon) async fn watch(
    argv: &[Arc<str>],
    event: &str,
    body: &[u8],
    heard: &dyn Fn(u8),
) -> Result<(), String> {
    let mut group = start(argv, event, Stdio::piped())?;
    let said = group.0.stdout.take();
    // What it starts and leaves behind may hold its output open: its end is what counts.
    let listening = async {
        if let Some(said) = said {
            listen(said, heard).await;
        }
        std::future::pending().await
    };
    let working = async {
        group.hand(body).await;
        group.end(argv).await
    };
    tokio::select! {
        biased;
        never = listening => never,
        ended = working => ended,
    }
}

async fn listen(mut said: ChildStdout, heard: &dyn Fn(u8)) {
    let (mut word, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = said.read(&mut bytes).await {
        for byte in &bytes[..n] {
            if !byte.is_ascii_whitespace() {
                word.truncate(WORD_MAX);
                word.push(*byte);
                continue;
            }
            percent(&word).into_iter().for_each(heard);
            word.clear();
        }
    }
}

/// The percentage that a word is, if it is one: `37%`, `37.5%`.
fn percent(word: &[u8]) -> Option<u8> {
    let number = std::str::from_utf8(word).ok()?.strip_suffix('%')?;
    let whole = number.split_once('.').map_or(number, |(whole, _)| whole);
    whole.parse().ok().filter(|percent| *percent <= 100)
}

fn start(argv: &[Arc<str>], event: &str, stdout: Stdio) -> Result<Group, String> {
    let (program, arguments) = argv.split_first().ok_or("no program")?;
    let mut command = Command::new(&**program);
    command.args(arguments.iter().map(|text| &**text)).env_clear();
    command.env("PATH", PATH).env("FORESHADOW_EVENT", event).current_dir("/");
    command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    command.spawn().map(Group).map_err(|error| format!("{program}: {error}"))
}

/// A child that leads a process group, which ends with it.
struct Group(Child);

impl Group {
    async fn hand(&mut self, body: &[u8]) {
        if let Some(mut stdin) = self.0.stdin.take() {
            // A program may do without.
            let _ = stdin.write_all(body).await;
        }
    }

    async fn end(&mut self, argv: &[Arc<str>]) -> Result<(), String> {
        let program = argv.first().map_or("", |program| program);
        let ended = self.0.wait().await.map_err(|error| format!("{program}: {error}"))?;
        if ended.success() { Ok(()) } else { Err(format!("{program}: {ended}")) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: its number may be another's then.
        let id = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_words() {
        let of = |word: &str| percent(word.as_bytes());
        assert_eq!((of("37%"), of("100%"), of("0.9%")), (Some(37), Some(100), Some(0)));
        for word in ["101%", "37", "-1%", "%", "1e1%", "99999999999%", "\u{661}%"] {
            assert_eq!(of(word), None, "{word}");
        }
    }
}
