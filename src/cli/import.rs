//! `foreshadow import`: the leases of another DHCP server become ours.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::api::leases::time_text;
use crate::api::view::{LeaseView, RefusedView};
use crate::base::ClientKey;
use crate::base::addr::write_hex;
use crate::import::{self, Imported};

use super::args;
use super::exit::{Exit, Failure};
use super::leases::tell_import;
use super::output::Output;
use super::source::{Access, Source};

/// The largest lease file that is read, in bytes.
const FILE_MAX: u64 = 1 << 30;
/// The largest file with a DUID that is read, in bytes.
const SERVER_ID_MAX: u64 = 4096;

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
    done.refused.extend(found.unmapped.iter().map(|unmapped| RefusedView {
        address: format!("line {}", unmapped.line),
        reason: unmapped.why.clone(),
    }));
    tell_import(&done, args.dry_run, args.json, out)?;
    tell_server_duid(args, &found, out);
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
        address: lease.resource.to_string(),
        state: lease.bond.as_str().into(),
        client: lease.client.as_ref().map(ClientKey::to_string),
        hardware: lease.hw.map(|hw| hw.to_string()),
        hostname: lease.hostname.as_deref().map(Into::into),
        since: lease.since.map(time_text),
        until: Some(time_text(lease.until)),
        ..LeaseView::default()
    }
}

/// DHCPv6 clients renew with the server whose DUID they know, and with another one only from T2 on
/// (RFC 9915 s18.2.4, s18.2.5).
fn tell_server_duid(args: &args::Import, found: &import::Import, out: &mut Output) {
    if !found.has_v6() {
        return;
    }
    let beside = || match args.from {
        import::Source::Kea => args.files.iter().find_map(|file| kea_server_duid(file)),
        _ => None,
    };
    match found.server_duid.clone().or_else(beside) {
        Some(duid) => {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write_hex(&mut text, &duid, ":");
            out.note(format!(
                "DHCPv6 clients renew here only if [server] of the configuration has the other \
                 server's duid = \"{text}\""
            ));
        }
        None => out.note(
            "DHCPv6 clients renew here only if `duid` of [server] is the other server's, which \
             was not found; without it they come when they rebind",
        ),
    }
}

/// Kea keeps its DUID beside its leases.
fn kea_server_duid(leases: &Path) -> Option<Vec<u8>> {
    let path = leases.with_file_name("kea-dhcp6-serverid");
    let found = fs::metadata(&path).ok()?;
    if !found.is_file() || found.len() > SERVER_ID_MAX {
        return None;
    }
    import::kea_server_duid(&fs::read_to_string(path).ok()?)
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
