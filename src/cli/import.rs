//! `foreshadow import`: the leases of another DHCP server become ours.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::api::leases::time_text;
use crate::api::view::{LeaseView, RefusedView};
use crate::base::ClientKey;
use crate::import::{self, Imported};

use super::args;
use super::exit::{Exit, Failure};
use super::leases::tell_import;
use super::output::Output;
use super::source::{Access, Source};

/// The largest lease file that is read, in bytes.
const FILE_MAX: u64 = 1 << 30;

/// Reads the files, and gives what they hold to the server or its store.
pub(super) fn import(args: &args::Import, out: &mut Output) -> Result<(), Failure> {
    let mut found = import::Import::default();
    for path in &args.files {
        found.update(import::parse(args.from, &read(path)?));
    }
    if args.from == import::Source::Kea {
        note_unfinished(&args.files, out);
    }
    let nothing = found.leases.is_empty() && !found.unmapped.is_empty();
    let leases = found.leases.values().map(|lease| view(lease, args.network.as_deref())).collect();
    let mut source = Source::open(&args.target, Access::Change, out)?;
    let done = source.import(leases, args.dry_run);
    source.close()?;
    let mut done = done?;
    done.refused.extend(found.unmapped.into_iter().map(|unmapped| RefusedView {
        address: format!("line {}", unmapped.line),
        reason: unmapped.why,
    }));
    tell_import(&done, args.dry_run, args.json, out)?;
    // A script that starts the server after this must not start it empty.
    match nothing {
        true => {
            Err(Failure::says(Exit::Failed, "no lease could be read: is that the right --from?"))
        }
        false => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let named = || format!("read {}", path.display());
    let found = fs::metadata(path).with_context(named)?;
    if !found.is_file() {
        let text = format!("{}: not a regular file; want a lease file", path.display());
        return Err(Failure::says(Exit::Failed, text));
    }
    let size = found.len();
    if size > FILE_MAX {
        let text = format!("{}: {size} bytes, at most {FILE_MAX} are read", path.display());
        return Err(Failure::says(Exit::Failed, text));
    }
    let bytes = fs::read(path).with_context(named)?;
    // Host names from the wire may be no UTF-8; they are cleaned, and their leases kept.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn view(lease: &Imported, network: Option<&str>) -> LeaseView {
    LeaseView {
        network: network.map(Into::into),
        address: lease.addr.to_string(),
        state: lease.bond.as_str().into(),
        client: lease.client_id.as_deref().map(|id| ClientKey::client_id(id).to_string()),
        hardware: lease.hw.map(|hw| hw.to_string()),
        hostname: lease.hostname.as_deref().map(Into::into),
        since: lease.since.map(time_text),
        until: Some(time_text(lease.until)),
        ..LeaseView::default()
    }
}

/// Kea's clean-up leaves part of its leases in files beside the one that was named.
fn note_unfinished(files: &[std::path::PathBuf], out: &mut Output) {
    for path in files {
        for suffix in ["completed", "2", "1"] {
            let mut beside = path.as_os_str().to_owned();
            beside.push(format!(".{suffix}"));
            let beside = Path::new(&beside);
            if beside.exists() && !files.iter().any(|file| file == beside) {
                out.note(format!(
                    "{} holds older leases: name it before {}",
                    beside.display(),
                    path.display()
                ));
            }
        }
    }
}
