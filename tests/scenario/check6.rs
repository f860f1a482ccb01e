//! Expectations about DHCPv6 answers.

use foreshadow::engine::Destination;
use foreshadow::wire::options6::{INTERFACE_ID, StatusCode};
use foreshadow::wire::v6_build::unwrap_relay_reply;
use foreshadow::wire::{Ia, IaKind, Kind6, Message6};

use super::check::destination;
use super::words::{addr6, bytes, ia as ia_words, prefix6, span};

/// The relays that an answer goes through, each as its whole message, and what the client gets.
pub(super) fn unwrapped(payload: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut hops, mut rest) = (Vec::new(), payload);
    while let Some(inner) = unwrap_relay_reply(rest) {
        hops.push(rest);
        rest = inner;
    }
    (hops, rest)
}

/// The answer in the words of an expectation.
pub(super) fn shown(payload: &[u8]) -> String {
    let Ok(msg) = Message6::parse(unwrapped(payload).1) else { return "malformed".into() };
    let mut out = verb_of(&msg);
    if let Some(status) = msg.status() {
        out += &format!(" status={}", status_name(status.code));
    }
    msg.ias().for_each(|ia| out += &format!(" {}", shown_ia(&ia)));
    out
}

fn verb_of(msg: &Message6<'_>) -> String {
    match msg.kind() {
        Kind6::Known(kind) => format!("{kind:?}").to_lowercase(),
        Kind6::Unknown(byte) => byte.to_string(),
    }
}

fn status_name(code: u16) -> String {
    StatusCode::from_number(code).map_or(code.to_string(), |code| format!("{code:?}"))
}

fn shown_ia(ia: &Ia<'_>) -> String {
    let sign = |valid: u32| if valid == 0 { "-" } else { "" };
    let mut inside: Vec<String> =
        ia.addrs().map(|a| format!("{}{}", sign(a.valid), a.addr)).collect();
    inside.extend(ia.prefixes().map(|p| format!("{}{}/{}", sign(p.valid), p.prefix, p.len)));
    inside.extend(ia.status().map(|status| format!("!{}", status_name(status.code))));
    format!("{}={}[{}]", kind_word(ia.kind), ia.iaid, inside.join(","))
}

fn kind_word(kind: IaKind) -> &'static str {
    match kind {
        IaKind::Na => "na",
        IaKind::Pd => "pd",
        IaKind::Ta => "ta",
    }
}

/// An IA of an expectation as [`shown_ia`] would write it.
fn wanted_ia(word: &str) -> Result<String, String> {
    let (kind, text) = word.split_once('=').ok_or(format!("what is {word}?"))?;
    let (iaid, items) = ia_words(text)?;
    let item = |item: &&str| {
        if item.starts_with('!') {
            return Ok((*item).to_owned());
        }
        let (sign, rest) = item.strip_prefix('-').map_or(("", *item), |rest| ("-", rest));
        match rest.contains('/') {
            true => prefix6(rest).map(|(prefix, len)| format!("{sign}{prefix}/{len}")),
            false => addr6(rest).map(|addr| format!("{sign}{addr}")),
        }
    };
    let items: Vec<String> = items.iter().map(item).collect::<Result<_, String>>()?;
    Ok(format!("{kind}={iaid}[{}]", items.join(",")))
}

pub(super) fn reply(
    to: Destination,
    payload: &[u8],
    verb: &str,
    words: &[&str],
) -> Result<(), String> {
    let (hops, inner) = unwrapped(payload);
    let msg = Message6::parse(inner).map_err(|e| format!("malformed reply: {e}"))?;
    if verb_of(&msg) != verb {
        return Err(format!("got `{}`, want `{verb}`", shown(payload)));
    }
    let is_ia = |word: &&&str| ["na=", "pd=", "ta="].iter().any(|kind| word.starts_with(kind));
    let wanted: Vec<String> =
        words.iter().filter(is_ia).map(|word| wanted_ia(word)).collect::<Result<_, _>>()?;
    let got: Vec<String> = msg.ias().map(|ia| shown_ia(&ia)).collect();
    if !wanted.is_empty() && got != wanted {
        return Err(format!("got `{}`, want `{}`", shown(payload), wanted.join(" ")));
    }
    for word in words.iter().filter(|word| !is_ia(word)) {
        let (key, value) = word.split_once('=').ok_or(format!("what is {word}?"))?;
        match key {
            "to" => destination(to, value)?,
            "via" => same("hops", hops.len(), value.parse().map_err(|_| "via=N")?)?,
            "if" => same("interface-ids", interface_ids(&hops), value.to_owned())?,
            _ => detail(&msg, key, value)?,
        }
    }
    Ok(())
}

/// The interface-ids that go back to the relays, outermost first; `-` where there is none.
fn interface_ids(hops: &[&[u8]]) -> String {
    let id = |hop: &&[u8]| {
        // A relay's options stand where a client's would, after a longer header.
        let bytes = [&[7, 0, 0, 0][..], hop.get(34..).unwrap_or_default()].concat();
        let msg = Message6::parse(&bytes).ok();
        let id = msg.and_then(|m| m.option(INTERFACE_ID).map(<[u8]>::to_vec));
        id.map_or("-".into(), |id| String::from_utf8_lossy(&id).into_owned())
    };
    hops.iter().map(id).collect::<Vec<_>>().join(",")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    (got == want).then_some(()).ok_or(format!("{what}: {got:?}, want {want:?}"))
}

fn detail(msg: &Message6<'_>, key: &str, value: &str) -> Result<(), String> {
    let secs = || match value {
        "infinite" => Ok(u32::MAX),
        _ => span(value).map(|span| (span.0 / 1000) as u32),
    };
    let live = |ia: &Ia<'_>| ia.addrs().any(|a| a.valid > 0) || ia.prefixes().any(|p| p.valid > 0);
    let lifetimes = || -> Vec<(u32, u32)> {
        let of = |ia: Ia<'_>| {
            let addrs = ia.addrs().map(|a| (a.preferred, a.valid)).collect::<Vec<_>>();
            addrs
                .into_iter()
                .chain(ia.prefixes().map(|p| (p.preferred, p.valid)).collect::<Vec<_>>())
        };
        msg.ias().flat_map(of).filter(|(_, valid)| *valid > 0).collect()
    };
    let every = |got: Vec<u32>| {
        let want = secs()?;
        let all = !got.is_empty() && got.iter().all(|got| *got == want);
        all.then_some(()).ok_or(format!("{key}: {got:?}, want {want}"))
    };
    match key {
        "preferred" => every(lifetimes().iter().map(|(preferred, _)| *preferred).collect()),
        "valid" => every(lifetimes().iter().map(|(_, valid)| *valid).collect()),
        "t1" => every(msg.ias().filter(live).map(|ia| ia.t1).collect()),
        "t2" => every(msg.ias().filter(live).map(|ia| ia.t2).collect()),
        "status" => {
            let got = msg.status().map_or("none".into(), |status| status_name(status.code));
            same(key, got, value.to_owned())
        }
        "ias" => same(key, msg.ias().count(), value.parse().map_err(|_| "ias=N")?),
        "exclude" => {
            let got = msg.ias().find_map(|ia| ia.prefixes().find_map(|p| p.exclude()));
            let got = got.map_or("none".into(), |p| p.to_string());
            let want = match value {
                "none" => value.to_owned(),
                _ => prefix6(value).map(|(prefix, len)| format!("{prefix}/{len}"))?,
            };
            same(key, got, want)
        }
        "size" => {
            let most: usize = value.parse().map_err(|_| "size=BYTES")?;
            let len = msg.bytes().len();
            (len <= most).then_some(()).ok_or(format!("{len} bytes"))
        }
        code => option(msg, code.parse().map_err(|_| format!("what is {key}?"))?, value),
    }
}

fn option(msg: &Message6<'_>, code: u16, value: &str) -> Result<(), String> {
    let got = msg.option(code);
    match (value, got) {
        ("absent", None) | ("there", Some(_)) => Ok(()),
        ("absent", Some(v)) => Err(format!("option {code} is there: {v:02x?}")),
        (_, Some(v)) if *v == *bytes(value)? => Ok(()),
        (_, got) => Err(format!("option {code} is {got:02x?}")),
    }
}
