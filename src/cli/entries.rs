//! What the commands about instances, reservations, accounts and applications have in common.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::client::{Client, ClientError, escape};

use super::args_directory::Asked;
use super::exit::Failure;
use super::output::Output;
use super::source;
use super::table::{Table, Tone};

/// The server that is meant.
pub(super) fn client(asked: &Asked) -> Result<Client, Failure> {
    source::running(&asked.target)
}

/// Every entry of a list that passes the filters, over all of its pages.
pub(super) fn all<V: DeserializeOwned>(
    client: &mut Client,
    path: &str,
    list: &str,
    filters: &[(&str, &Option<String>)],
) -> Result<Vec<V>, Failure> {
    let (mut found, mut next) = (Vec::new(), String::new());
    let said = |(name, value): &(&str, &Option<String>)| {
        value.as_ref().map(|value| format!("&{name}={}", escape(value)))
    };
    let filters: String = filters.iter().filter_map(said).collect();
    loop {
        let mut page: Map<String, Value> =
            client.get(&format!("{path}?limit=1000{filters}{next}"))?;
        let entries = page.remove(list).unwrap_or_default();
        found.extend(read::<Vec<V>>(entries)?);
        match page.get("next").and_then(Value::as_str) {
            Some(more) => next = format!("&cursor={}", escape(more)),
            None => return Ok(found),
        }
    }
}

/// JSON of an answer as what it stands for.
pub(super) fn read<V: DeserializeOwned>(value: Value) -> Result<V, Failure> {
    let broken = |error: serde_json::Error| ClientError::Broken(error.to_string());
    Ok(serde_json::from_value(value).map_err(broken)?)
}

/// A body of those fields that say something.
pub(super) fn body(fields: &[(&str, &Option<String>)]) -> Map<String, Value> {
    let said = |(name, value): &(&str, &Option<String>)| {
        let value = value.as_ref()?;
        Some(((*name).to_owned(), Value::from(value.as_str())))
    };
    fields.iter().filter_map(said).collect()
}

/// Shows one entry: its fields one below the other, or JSON.
pub(super) fn show(entry: &impl Serialize, asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    if asked.json {
        return out.json(entry);
    }
    let mut table = Table::new(&["FIELD", "VALUE"]);
    let value = serde_json::to_value(entry).map_err(|e| ClientError::Broken(e.to_string()))?;
    rows(&value, &mut table);
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn rows(value: &Value, table: &mut Table) {
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => rows(value, table),
            Value::Array(list) if list.is_empty() => {}
            _ => table.row(&[(name, Tone::Dim), (&text(value), Tone::Plain)]),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A row of a table; what is not there is a dash.
pub(super) fn row(table: &mut Table, cells: &[Option<&str>]) {
    let cell =
        |cell: &Option<&'_ str>| cell.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let cells: Vec<String> = cells.iter().map(cell).collect();
    let cells: Vec<(&str, Tone)> = cells.iter().map(|cell| (cell.as_str(), Tone::Plain)).collect();
    table.row(&cells);
}
