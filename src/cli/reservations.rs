//! `foreshadow reservations`.

use std::io::Write;

use serde_json::{Map, Value};

use crate::api::client::{Guard, escape};
use crate::api::reservations::ReservationView;

use super::args_directory::{Asked, ReservationWords, Reservations};
use super::entries::{all, client, row, show};
use super::exit::Failure;
use super::output::{Output, Safe};
use super::table::Table;

/// Does what was asked of the reservations.
pub(super) fn reservations(command: Reservations, out: &mut Output) -> Result<(), Failure> {
    match command {
        Reservations::List { network, asked } => {
            let mut found: Vec<ReservationView> =
                all(&mut client(&asked)?, "/v1/reservations", "reservations", &[])?;
            found.retain(|of| network.as_ref().is_none_or(|name| of.network == *name));
            list(&found, &asked, out)
        }
        Reservations::Show { id, asked } => {
            let found: ReservationView = client(&asked)?.get(&path(&id))?;
            show(&found, &asked, out)
        }
        Reservations::Add { network, id, of } => {
            let mut body = request(&of, ReservationView::default());
            body.insert("network".into(), network.into());
            body.extend(id.map(|id| ("id".into(), id.into())));
            let made: ReservationView = client(&of.asked)?.post("/v1/reservations", &body)?;
            show(&made, &of.asked, out)
        }
        Reservations::Change { id, of } => {
            let mut client = client(&of.asked)?;
            let (now, guard): (ReservationView, Guard) = client.get_guarded(&path(&id))?;
            let after: ReservationView = client.put(&path(&id), &request(&of, now), &guard)?;
            show(&after, &of.asked, out)
        }
        Reservations::Remove { id, asked } => {
            let was: ReservationView = client(&asked)?.delete_shown(&path(&id))?;
            match asked.json {
                true => out.json(&was),
                false => Ok(writeln!(out, "reservation {} is removed", Safe(&was.id))?),
            }
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/reservations/{}", escape(id))
}

/// What is said now, in the place of what was.
fn request(words: &ReservationWords, was: ReservationView) -> Map<String, Value> {
    let mut body = Map::new();
    let texts = [
        ("mac", &words.mac, was.mac),
        ("duid", &words.duid, was.duid),
        ("client_id", &words.client_id, was.client_id),
        ("port_id", &words.port_id, was.port_id),
        ("hostname", &words.hostname, was.hostname),
        ("address", &words.address, was.address),
        ("account", &words.account, was.account),
        ("application", &words.application, was.application),
    ];
    for (name, given, was) in texts {
        let now = given.clone().or(was).filter(|text| text != "none");
        body.extend(now.map(|text| (name.to_owned(), text.into())));
    }
    let lists = [
        ("addresses6", &words.addresses6, was.addresses6),
        ("prefixes", &words.prefixes, was.prefixes),
    ];
    for (name, given, was) in lists {
        let mut now = if given.is_empty() { was } else { given.clone() };
        now.retain(|text| text != "none");
        body.insert(name.into(), now.into());
    }
    body
}

fn list(found: &[ReservationView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    if asked.json {
        return out.json(&found);
    }
    let header =
        ["ID", "NETWORK", "CLIENT", "ADDRESSES", "PREFIXES", "HOSTNAME", "ACCOUNT", "FROM"];
    let mut table = Table::new(&header);
    for of in found {
        let who = [&of.mac, &of.duid, &of.client_id, &of.port_id, &of.remote_id];
        let who = who.into_iter().flatten().next().map(String::as_str);
        let addresses: Vec<&str> =
            of.address.iter().chain(&of.addresses6).map(String::as_str).collect();
        let from = if of.configured { "configuration" } else { "run time" };
        let cells = [
            Some(of.id.as_str()),
            Some(&of.network),
            who,
            Some(&addresses.join(",")),
            Some(&of.prefixes.join(",")),
            of.hostname.as_deref(),
            of.account.as_deref(),
            Some(from),
        ];
        row(&mut table, &cells);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}
