//! Where the command line meets the parts that do the work.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{self, Fault, Policy};
use crate::daemon::serve::{self, Serve};
use crate::store::disk::Disk;
use crate::store::{self, Contents, DiskStore, Store, StoreError};

use super::args;
use super::exit::{Exit, Failure};

/// A configuration that passed every check, and what is odd about it.
pub(super) struct Loaded {
    pub(super) policy: Arc<Policy>,
    /// The warnings, drawn at their lines.
    pub(super) drawn: String,
}

/// Reads and checks a configuration file; interfaces that are not there now are warnings.
pub(super) fn load(path: &Path, colour: bool) -> Result<Loaded, Failure> {
    let loaded = config::load(path).map_err(|faults| Failure {
        exit: Exit::Config,
        error: anyhow::anyhow!("{}", faults.render(colour)),
        drawn: true,
    })?;
    let drawn = loaded.render(&all_warnings(&loaded), colour);
    Ok(Loaded { policy: Arc::new(loaded.policy), drawn })
}

/// What is odd about a file, which of its interfaces are not there now, and which of its secrets
/// others can read.
pub(super) fn all_warnings(loaded: &config::Loaded) -> Vec<Fault> {
    let mut warnings = loaded.warnings.clone();
    warnings.extend(loaded.check_links(&interfaces()));
    let mode = |path: &Path| Some(std::fs::metadata(path).ok()?.permissions().mode());
    warnings.extend(config::check_private(&loaded.policy, mode));
    warnings
}

/// The names of the interfaces that are there now.
fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// `1 network`, `2 networks`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What the store of a stopped server holds, from a copy.
pub(super) fn open_copy(policy: &Policy) -> Result<Contents, Failure> {
    let (contents, _) = store::open_copy(&serve::store_dir(policy), false)?;
    Ok(contents)
}

/// The store of a stopped server, locked against its start.
pub(super) fn open_store(policy: &Policy) -> Result<(Box<dyn Store>, Contents), Failure> {
    let dir = &policy.server.state_dir;
    serve::create_state_dir(dir).with_context(|| format!("state_dir {}", dir.display()))?;
    let options = serve::store_options(policy);
    let (disk, audit) = (Disk::default(), serve::archive_options(policy));
    let (store, contents, _) =
        DiskStore::open_archived(disk, &serve::store_dir(policy), &options, audit, false)?;
    Ok((Box::new(store), contents))
}

/// Damage and newer versions have an exit code of their own.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let (exit, way_out) = match error {
            StoreError::Damaged { .. } | StoreError::Checkpoint { .. } => {
                (Exit::Store, "`foreshadow serve --recover` starts without what cannot be read")
            }
            StoreError::Newer { .. } => return Failure::new(Exit::Store, error),
            StoreError::Locked { .. } => (
                Exit::Failed,
                "its server has another control socket than the configuration says: name it by \
                 --socket",
            ),
            _ => return Failure::new(Exit::Failed, error),
        };
        Failure::says(exit, format!("{error}; {way_out}"))
    }
}

/// Runs the server until it is told to stop.
pub(super) fn serve(args: &args::Serve, colour: bool) -> Result<(), Failure> {
    let config = args.config();
    let loaded = load(config, colour)?;
    let serve = Serve { config: config.into(), observe: args.observe, recover: args.recover };
    serve::run(&serve, loaded.policy, &loaded.drawn).map_err(|error| {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => Failure::new(Exit::Failed, error),
        }
    })
}

/// Runs the lab.
pub(super) fn lab(args: &crate::lab::Args) -> Result<(), Failure> {
    Ok(crate::lab::run(args)?)
}
