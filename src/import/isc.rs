//! dhcpd.leases of ISC DHCP: declarations as in dhcpd.conf, appended at every change.
//!
//! The last `lease` for an address counts; [`super::isc6`] is about DHCPv6. Strings have octal
//! escapes; a client identifier is a string or hexadecimal; times are UTC dates, `epoch` seconds,
//! or `never`. Reading never recurses and never fails: a declaration that makes no sense is
//! reported and stepped over.

use std::net::Ipv4Addr;

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::base::addr::parse_hex;
use crate::base::name::clean_hostname;
use crate::base::{ClientKey, HwAddr, Timestamp};

use super::isc6::Associations;
use super::{Bond, CLIENT_ID_MAX, DUID_BYTES, Import, Imported, shown};

/// Reads a leases file.
pub fn parse(text: &str) -> Import {
    let mut import = Import::default();
    let mut tokens = Tokens { rest: text.as_bytes(), line: 1 };
    let mut associations = Associations::default();
    while let Some(statement) = tokens.statement() {
        let words = statement.words.as_slice();
        match words {
            [Token::Word("lease"), Token::Word(addr)] if statement.block => {
                let entry = lease(addr, statement.line, &mut tokens);
                match entry {
                    Ok(lease) => import.add(lease),
                    Err(why) => import.skip(statement.line, why),
                }
            }
            [Token::Word(kind @ ("ia-na" | "ia-pd" | "ia-ta")), id] if statement.block => {
                associations.read(kind, id, statement.line, &mut tokens, &mut import);
            }
            _ if statement.block => {
                tokens.skip_block();
                let what = words.first().map_or("", |word| word.text());
                let why = format!("`{}` declaration: only leases are imported", shown(what));
                import.skip(statement.line, why);
            }
            [Token::Word("server-duid"), id] => match id.bytes() {
                Some(duid) if DUID_BYTES.contains(&duid.len()) => import.server_duid = Some(duid),
                _ => import.skip(statement.line, "server-duid is no DUID"),
            },
            [Token::Word("authoring-byte-order"), Token::Word(order)] => {
                if let Err(why) = associations.set_order(order) {
                    import.skip(statement.line, why);
                }
            }
            [] => {}
            [first, ..] => {
                import
                    .skip(statement.line, format!("`{}` has no meaning here", shown(first.text())));
            }
        }
    }
    import
}

/// The body of a `lease`, up to its closing brace.
#[derive(Default)]
struct Draft {
    starts: Option<Timestamp>,
    ends: Option<Timestamp>,
    bond: Option<Bond>,
    hw: Option<HwAddr>,
    client: Option<ClientKey>,
    hostname: Option<Box<str>>,
    fault: Option<String>,
}

fn lease(addr: &str, line: u64, tokens: &mut Tokens<'_>) -> Result<Imported, String> {
    let mut draft = Draft::default();
    loop {
        match tokens.statement() {
            None => return Err("the file ends within this lease".into()),
            Some(statement) if statement.closes => break,
            // `on expiry { ... }` and the like.
            Some(statement) if statement.block => tokens.skip_block(),
            Some(statement) => {
                if let Err(why) = draft.take(&statement.words) {
                    draft.fault.get_or_insert(why);
                }
            }
        }
    }
    if let Some(fault) = draft.fault {
        return Err(fault);
    }
    let addr: Ipv4Addr =
        addr.parse().map_err(|_| format!("`{}` is no IPv4 address", shown(addr)))?;
    if draft.hw.is_none() && draft.client.is_none() && draft.bond != Some(Bond::Declined) {
        return Err(format!("lease {addr} has neither hardware address nor client id"));
    }
    Ok(Imported {
        line,
        resource: addr.into(),
        client: draft.client,
        hw: draft.hw,
        hostname: draft.hostname,
        since: draft.starts,
        until: draft.ends.ok_or_else(|| format!("lease {addr} has no end"))?,
        // Versions before 3.0 wrote no state: what is there is leased.
        bond: draft.bond.unwrap_or(Bond::Leased),
    })
}

impl Draft {
    fn take(&mut self, words: &[Token<'_>]) -> Result<(), String> {
        match words {
            [Token::Word("starts"), when @ ..] => self.starts = Some(moment(when)?),
            [Token::Word("ends"), when @ ..] => self.ends = Some(moment(when)?),
            [Token::Word("binding"), Token::Word("state"), Token::Word(state)] => {
                self.bond = Some(bond(state)?);
            }
            [Token::Word("abandoned")] => self.bond = Some(Bond::Declined),
            [Token::Word("hardware"), Token::Word(kind), Token::Word(bytes)] => {
                self.hw = Some(hardware(kind, bytes)?);
            }
            [Token::Word("uid"), Token::Text(id)] => self.client = Some(identifier(id)?),
            [Token::Word("uid"), Token::Word(hex)] => {
                let id = parse_hex(hex).ok_or_else(|| format!("uid is `{}`", shown(hex)))?;
                self.client = Some(identifier(&id)?);
            }
            [Token::Word("client-hostname"), Token::Text(name)] => {
                self.hostname = clean_hostname(name);
            }
            _ => {}
        }
        Ok(())
    }
}

fn identifier(id: &[u8]) -> Result<ClientKey, String> {
    match id.len() {
        1..=CLIENT_ID_MAX => Ok(ClientKey::client_id(id)),
        other => Err(format!("uid of {other} bytes, want 1 to {CLIENT_ID_MAX}")),
    }
}

pub(super) fn bond(state: &str) -> Result<Bond, String> {
    match state {
        "active" | "bootp" => Ok(Bond::Leased),
        "expired" => Ok(Bond::Expired),
        "free" | "released" | "reset" | "backup" => Ok(Bond::Released),
        "abandoned" => Ok(Bond::Declined),
        other => Err(format!("binding state is `{}`", shown(other))),
    }
}

fn hardware(kind: &str, bytes: &str) -> Result<HwAddr, String> {
    let htype = match kind {
        "ethernet" => 1,
        "token-ring" => 6,
        "fddi" => 8,
        "infiniband" => 32,
        other => other
            .strip_prefix("unknown-")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| format!("hardware type is `{}`", shown(other)))?,
    };
    bytes_of(bytes)
        .and_then(|bytes| HwAddr::new(htype, &bytes))
        .ok_or_else(|| format!("hardware address is `{}`", shown(bytes)))
}

/// Bytes with `:` between; dhcpd leaves leading zeros out in some versions.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// `never`, `epoch SECONDS`, or `WEEKDAY YYYY/MM/DD HH:MM:SS`.
pub(super) fn moment(words: &[Token<'_>]) -> Result<Timestamp, String> {
    let at = match words {
        [Token::Word("never")] => Some(Timestamp::NEVER),
        [Token::Word("epoch"), Token::Word(secs)] => secs.parse().ok().map(Timestamp::from_secs),
        [_, Token::Word(date), Token::Word(time)] => date_time(date, time),
        _ => None,
    };
    at.ok_or_else(|| {
        let words: Vec<_> = words.iter().map(Token::text).collect();
        format!("time is `{}`, want a date, epoch or never", shown(&words.join(" ")))
    })
}

fn date_time(date: &str, time: &str) -> Option<Timestamp> {
    let mut date = date.split('/');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let mut time = time.split(':').map(|part| part.parse::<u8>().ok());
    let time = Time::from_hms(time.next()??, time.next()??, time.next()??).ok()?;
    let secs = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    u64::try_from(secs).ok().map(Timestamp::from_secs)
}

/// A word, or the bytes of a string.
#[derive(Debug)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Text(Vec<u8>),
}

impl Token<'_> {
    /// What it identifies: a string, or a word of hexadecimal (`lease-id-format hex`).
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Token::Word(hex) => parse_hex(hex),
            Token::Text(bytes) => Some(bytes.clone()),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Text(bytes) => std::str::from_utf8(bytes).unwrap_or("\"...\""),
        }
    }
}

/// Words up to `;`, `{` or `}`.
pub(super) struct Statement<'a> {
    pub(super) line: u64,
    pub(super) words: Vec<Token<'a>>,
    /// A block follows.
    pub(super) block: bool,
    /// It was the end of a block.
    pub(super) closes: bool,
}

/// Most words of one statement that matter; longer ones keep their beginning.
const WORDS_MAX: usize = 16;

pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    line: u64,
}

impl<'a> Tokens<'a> {
    /// The next statement; `None` at the end of the file.
    pub(super) fn statement(&mut self) -> Option<Statement<'a>> {
        let mut words = Vec::new();
        self.skip_blanks();
        let line = self.line;
        loop {
            self.skip_blanks();
            let end = |block, closes, words| Some(Statement { line, words, block, closes });
            match self.rest.first()? {
                b';' => {
                    self.step(1);
                    return end(false, false, words);
                }
                b'{' => {
                    self.step(1);
                    return end(true, false, words);
                }
                b'}' => {
                    self.step(1);
                    return end(false, true, words);
                }
                b'"' => {
                    let text = self.string();
                    if words.len() < WORDS_MAX {
                        words.push(Token::Text(text));
                    }
                }
                _ => {
                    let word = self.word();
                    if words.len() < WORDS_MAX {
                        words.push(Token::Word(word));
                    }
                }
            }
        }
    }

    /// Steps over the rest of a block, and the blocks in it.
    pub(super) fn skip_block(&mut self) {
        let mut depth = 1_u64;
        while depth > 0 {
            match self.statement() {
                Some(statement) if statement.block => depth += 1,
                Some(statement) if statement.closes => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    fn step(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.rest = rest;
    }

    fn skip_blanks(&mut self) {
        loop {
            let blank = self.rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.step(blank);
            if self.rest.first() != Some(&b'#') {
                return;
            }
            let comment = self.rest.iter().take_while(|byte| **byte != b'\n').count();
            self.step(comment);
        }
    }

    fn word(&mut self) -> &'a str {
        let ends = |byte: u8| byte.is_ascii_whitespace() || b";{}\"#".contains(&byte);
        let length = self.rest.iter().take_while(|byte| !ends(**byte)).count();
        let word = self.rest.get(..length).unwrap_or_default();
        self.step(length);
        // The file is text and words end at ASCII, so this is text too.
        std::str::from_utf8(word).unwrap_or_default()
    }

    /// A string in quotes: `\` and one to three octal digits, a letter, or the character itself.
    fn string(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.step(1);
        while let Some(&byte) = self.rest.first() {
            self.step(1);
            match byte {
                b'"' => break,
                b'\\' => out.push(self.escaped()),
                _ => out.push(byte),
            }
        }
        out
    }

    fn escaped(&mut self) -> u8 {
        let octal = self.rest.iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
        if octal > 0 {
            let digits = self.rest.get(..octal).unwrap_or_default();
            let value =
                digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            self.step(octal);
            return value as u8;
        }
        let byte = self.rest.first().copied().unwrap_or(b'\\');
        self.step(1);
        match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::FIXTURES;
    use super::*;

    #[test]
    fn a_real_file_is_read_whole() {
        let import = parse(FIXTURES[1].1);
        assert_eq!(import.unmapped, []);
        let text: Vec<_> = import
            .leases
            .values()
            .map(|l| {
                let id = l.client.as_ref().and_then(|c| c.option_61()).unwrap_or_default();
                let id = id.escape_ascii();
                format!("{} {id} {:?} {:?} {}", l.resource, l.hostname, l.bond, l.until.secs())
            })
            .collect();
        assert_eq!(
            text,
            [
                r#"10.77.0.10 \x01RT\x00w\x00\x01 None Released 1795363054"#,
                r#"10.77.0.11  None Declined 1795449450"#,
                r#"10.77.0.12 a\"quoted;id\\ Some("vm-dhclient") Leased 1795366589"#,
                r#"10.77.0.13 \x01RT\x00w\x00\x05 Some("vm-gone") Leased 1795366591"#,
                concat!(
                    r#"10.77.0.24 \xff\x00w\x00\x04\x00\x01\x00\x012\x95\xccERT\x00\n\x0b\x0c "#,
                    r#"Some("vm-dhcpcd") Leased 1795366591"#
                ),
            ]
        );
    }

    fn one(body: &str) -> Result<Imported, String> {
        let import = parse(&format!("lease 10.0.0.1 {{ {body} }}\n"));
        match import.leases.into_values().next() {
            Some(lease) => Ok(lease),
            None => Err(import.unmapped[0].why.clone()),
        }
    }

    const HW: &str = "hardware ethernet 52:54:0:0:0:1;";

    #[test]
    fn times_come_in_three_forms() {
        let ends = |text: &str| one(&format!("{HW} ends {text};")).map(|lease| lease.until);
        assert_eq!(ends("never"), Ok(Timestamp::NEVER));
        assert_eq!(ends("epoch 1795366589"), Ok(Timestamp::from_secs(1_795_366_589)));
        assert_eq!(ends("0 2026/11/22 16:56:29"), Ok(Timestamp::from_secs(1_795_366_589)));
        for bad in ["", "2026/11/22", "0 2026/13/22 16:56:29", "0 2026/11/22 25:56:29", "epoch x"] {
            assert!(ends(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identifiers_are_strings_or_hexadecimal() {
        let id = |text: &str| one(&format!("ends never; uid {text};")).map(|l| l.client.unwrap());
        assert_eq!(id(r#""\001RT\0w""#), Ok(ClientKey::client_id(b"\x01RT\0w")));
        assert_eq!(id(r#""\"\\;}{#""#), Ok(ClientKey::client_id(b"\"\\;}{#")));
        assert_eq!(id("01:52:54:00"), Ok(ClientKey::client_id(&[1, 0x52, 0x54, 0])));
        assert!(id("\"\"").is_err());
        assert!(id(&format!("\"{}\"", "a".repeat(256))).is_err());
    }

    #[test]
    fn states_that_are_over_keep_their_client() {
        for (state, want) in [
            ("active", Bond::Leased),
            ("free", Bond::Released),
            ("expired", Bond::Expired),
            ("backup", Bond::Released),
            ("abandoned", Bond::Declined),
        ] {
            let text = format!("{HW} ends never; next binding state free; binding state {state};");
            assert_eq!(one(&text).map(|lease| lease.bond), Ok(want));
        }
        assert!(one(&format!("{HW} ends never; binding state odd;")).is_err());
    }

    #[test]
    fn other_declarations_are_reported_and_stepped_over() {
        let text = "failover peer \"x\" state { my state normal at 1 2026/01/01 00:00:00; }\n\
                    lease 10.0.0.1 {\n ends never;\n hardware ethernet 52:54:00:00:00:01;\n \
                    on expiry { if exists agent.circuit-id { set x = \"}\"; } }\n }\n\
                    host a { dynamic; }\nlease 10.0.0.2 { ends never;";
        let import = parse(text);
        assert_eq!(import.leases.len(), 1);
        let lines: Vec<_> = import.unmapped.iter().map(|u| u.line).collect();
        assert_eq!(lines, [1, 7, 8]);
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        assert_eq!(parse(&"a {".repeat(1_000_000)).unmapped.len(), 1);
    }
}
