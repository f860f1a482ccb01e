//! One program that is run.

use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// What a program finds in `PATH`; nothing else of the server's environment is handed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program with `body` on its standard input; only a status of 0 counts. Where nobody waits
/// any longer, it is killed with all that it started in its process group.
pub(in crate::daemon) async fn run(
    argv: &[Arc<str>],
    event: &str,
    body: &[u8],
) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("no program")?;
    let mut command = Command::new(&**program);
    command.args(arguments.iter().map(|text| &**text)).env_clear();
    command.env("PATH", PATH).env("FORESHADOW_EVENT", event).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let mut group = Group(child);
    if let Some(mut stdin) = group.0.stdin.take() {
        // A program may do without.
        let _ = stdin.write_all(body).await;
    }
    let ended = group.0.wait().await.map_err(|error| format!("{program}: {error}"))?;
    if ended.success() { Ok(()) } else { Err(format!("{program}: {ended}")) }
}

/// A child that leads a process group, which ends with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: its number may be another's then.
        let id = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
