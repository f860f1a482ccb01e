//! `foreshadow instances`.

use std::io::Write;

use serde_json::{Map, Value};

use crate::api::client::escape;
use crate::api::instances::InstanceView;

use super::args_directory::{Asked, Instances, NewInstance};
use super::entries::{all, body, client, row, show};
use super::exit::Failure;
use super::output::{Output, Safe};
use super::table::Table;

/// Does what was asked of the instances.
pub(super) fn instances(command: Instances, out: &mut Output) -> Result<(), Failure> {
    match command {
        Instances::List { account, application, network, asked } => {
            let of = [("account", &account), ("application", &application), ("network", &network)];
            let found: Vec<InstanceView> =
                all(&mut client(&asked)?, "/v1/instances", "instances", &of)?;
            list(&found, &asked, out)
        }
        Instances::Show { id, asked } => {
            let found: InstanceView = client(&asked)?.get(&path(&id))?;
            show(&found, &asked, out)
        }
        Instances::Create(new) => {
            let asked = &new.asked;
            let made: InstanceView = client(asked)?.post("/v1/instances", &request(&new))?;
            show(&made, asked, out)
        }
        Instances::Change { id, mac, duid, hostname, region, tags: given, asked } => {
            let fields =
                [("mac", &mac), ("duid", &duid), ("hostname", &hostname), ("region", &region)];
            let mut body = body(&fields);
            if !given.is_empty() {
                body.insert("tags".into(), tags(&given));
            }
            let changed: InstanceView = client(&asked)?.patch(&path(&id), &body)?;
            show(&changed, &asked, out)
        }
        Instances::End { id, asked } => {
            let was: InstanceView = client(&asked)?.delete_shown(&path(&id))?;
            match asked.json {
                true => out.json(&was),
                false => Ok(writeln!(out, "instance {} is ended", Safe(&was.id))?),
            }
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/instances/{}", escape(id))
}

fn request(new: &NewInstance) -> Map<String, Value> {
    let network = Some(new.network.clone());
    let mut body = body(&[
        ("network", &network),
        ("id", &new.id),
        ("account", &new.account),
        ("application", &new.application),
        ("mac", &new.mac),
        ("duid", &new.duid),
        ("port_id", &new.port_id),
        ("hostname", &new.hostname),
        ("region", &new.region),
        ("subnet", &new.subnet),
        ("subnet6", &new.subnet6),
        ("address", &new.address),
        ("address6", &new.address6),
    ]);
    body.insert("tags".into(), tags(&new.tags));
    body
}

fn tags(given: &[(String, String)]) -> Value {
    given.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect()
}

fn list(found: &[InstanceView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    if asked.json {
        return out.json(&found);
    }
    let mut table = Table::new(&[
        "ID",
        "NETWORK",
        "ACCOUNT",
        "APPLICATION",
        "MAC",
        "ADDRESS",
        "IPV6 ADDRESS",
        "HOSTNAME",
    ]);
    for of in found {
        let cells = [
            Some(of.id.as_str()),
            Some(&of.network),
            of.account.as_deref(),
            of.application.as_deref(),
            of.mac.as_deref(),
            of.address.as_deref(),
            of.address6.as_deref(),
            of.hostname.as_deref(),
        ];
        row(&mut table, &cells);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}
