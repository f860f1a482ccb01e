//! Bindings as files: CSV and JSON, out and in again.
//!
//! CSV has a header of the field names of [`LeaseView`]; columns may come in any order, and those
//! that an import does not need may be missing. Fields that hold separators, quotes or newlines
//! are quoted (RFC 4180). JSON is one array of the same records.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use super::view::LeaseView;

/// How bindings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    #[default]
    Csv,
    /// One array of objects.
    Json,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "csv" => Ok(Format::Csv),
            "json" => Ok(Format::Json),
            other => Err(format!("format is `{other}`, want csv or json")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Csv => "csv",
            Format::Json => "json",
        })
    }
}

/// Writes bindings piece by piece, so that a million of them need not be held at once.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    empty: bool,
}

impl Writer {
    /// A writer that has written nothing yet.
    pub fn new(format: Format) -> Writer {
        Writer { format, empty: true }
    }

    /// Appends `leases`.
    pub fn leases(&mut self, leases: &[LeaseView], out: &mut impl Write) -> std::io::Result<()> {
        match self.format {
            Format::Csv => {
                let header = std::mem::take(&mut self.empty);
                let mut rows = csv::WriterBuilder::new().has_headers(false).from_writer(out);
                if header {
                    rows.write_record(COLUMNS)?;
                }
                for lease in leases {
                    rows.serialize(lease)?;
                }
                rows.flush()
            }
            Format::Json => {
                for lease in leases {
                    let lead = if std::mem::take(&mut self.empty) { "[\n" } else { ",\n" };
                    out.write_all(lead.as_bytes())?;
                    serde_json::to_writer(&mut *out, lease)?;
                }
                Ok(())
            }
        }
    }

    /// Ends the file.
    pub fn finish(mut self, out: &mut impl Write) -> std::io::Result<()> {
        match self.format {
            Format::Csv => self.leases(&[], out),
            Format::Json if self.empty => out.write_all(b"[]\n"),
            Format::Json => out.write_all(b"\n]\n"),
        }
    }
}

/// The fields of [`LeaseView`], in its order.
const COLUMNS: [&str; 18] = [
    "network",
    "address",
    "state",
    "client",
    "hardware",
    "hostname",
    "account",
    "application",
    "instance",
    "since",
    "updated",
    "until",
    "circuit_id",
    "remote_id",
    "relay",
    "next_hop",
    "boot_stage",
    "answered",
];

/// Reads a whole file; the first record that cannot be read ends it, with its line.
pub fn read(format: Format, file: impl Read) -> Result<Vec<LeaseView>, String> {
    match format {
        Format::Json => serde_json::from_reader(std::io::BufReader::new(file))
            .map_err(|error| format!("JSON: {error}")),
        Format::Csv => csv::Reader::from_reader(file)
            .deserialize()
            .collect::<Result<_, _>>()
            .map_err(|error| format!("CSV: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, leases: &[LeaseView]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(format);
        leases
            .iter()
            .for_each(|lease| writer.leases(std::slice::from_ref(lease), &mut out).unwrap());
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Hostile-input list: a lease whose text fields hold separators and newlines.
    #[test]
    fn text_with_separators_and_newlines_survives() {
        let nasty = LeaseView {
            address: "10.0.0.5".into(),
            state: "leased".into(),
            hostname: Some("a,b\";\r\nc\t\u{0}'=1+1".into()),
            account: Some("\n\n\"\"".into()),
            until: Some("never".into()),
            ..LeaseView::default()
        };
        let plain = LeaseView { address: "10.0.0.6".into(), ..nasty.clone() };
        for format in [Format::Csv, Format::Json] {
            let text = written(format, &[nasty.clone(), plain.clone()]);
            assert_eq!(read(format, text.as_bytes()).unwrap(), [nasty.clone(), plain.clone()]);
        }
    }

    #[test]
    fn columns_are_the_fields_in_order() {
        let view = serde_json::to_string(&LeaseView::default()).unwrap();
        let at: Vec<_> = COLUMNS.iter().map(|c| view.find(&format!("\"{c}\"")).unwrap()).collect();
        assert!(at.is_sorted());
        assert_eq!(at.len(), view.matches("\":").count());
    }

    #[test]
    fn nothing_is_a_file_too() {
        for format in [Format::Csv, Format::Json] {
            assert_eq!(read(format, written(format, &[]).as_bytes()), Ok(vec![]));
        }
    }

    #[test]
    fn a_few_columns_are_enough() {
        let text = "until,address,hardware\nnever,10.0.0.5,52:54:00:00:00:01\n";
        let read = read(Format::Csv, text.as_bytes()).unwrap();
        assert_eq!(read[0].hardware.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(read[0].client, None);
    }

    #[test]
    fn a_bad_record_is_named_by_its_line() {
        let text = "address,until,boot_stage\n10.0.0.5,never,false\n10.0.0.6,never,perhaps\n";
        let error = read(Format::Csv, text.as_bytes()).unwrap_err();
        assert!(error.contains("line: 3"), "{error}");
    }
}
