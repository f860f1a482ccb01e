//! Expectations of a scenario line against what happened.

use std::net::IpAddr;

use foreshadow::engine::effects::{Event, EventKind};
use foreshadow::engine::{Destination, Engine};
use foreshadow::wire::{Kind, Message, MessageType, options as opt};

use super::check6;
use super::words::{addr, addr6, bytes, span};
use super::world::Outcome;

pub(crate) fn outcome(outcome: &Outcome, expected: &str, engine: &Engine) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    let mut replies = outcome.replies.iter();
    for part in expected.split(" & ") {
        let mut words = part.split_whitespace();
        let verb = words.next().ok_or("empty expectation")?;
        let words: Vec<&str> = words.collect();
        match verb {
            "silence" => silence(outcome, words.first().copied())?,
            "made" | "same" | "done" | "denied" => told_so(outcome, verb, &words)?,
            "asks" => asks(outcome, addr(words.first().ok_or("asks whom?")?)?.into())?,
            "asks6" => words.iter().try_for_each(|ip| asks(outcome, addr6(ip)?.into()))?,
            "event" => event(outcome, words.first().ok_or("which event?")?)?,
            "free" | "free6" | "freepd" => {
                let net = &engine.networks()[0];
                let free: u128 = match verb {
                    "free" => net.pools.iter().map(|p| p.free.available()).sum(),
                    "free6" => net.pools6.iter().map(|p| p.free.available()).sum(),
                    _ => net.delegations.iter().map(|p| p.free.available()).sum(),
                };
                let want: u128 = words[0].parse().map_err(|_| "free N")?;
                (free == want).then_some(()).ok_or(format!("{free} are free"))?;
            }
            _ => {
                let (to, payload) =
                    replies.next().ok_or(format!("no answer; {}", told(outcome)))?;
                match is_v6(*to) {
                    true => check6::reply(*to, payload, verb, &words)?,
                    false => reply(*to, payload, verb, &words)?,
                }
            }
        }
    }
    match replies.next() {
        Some((to, payload)) => Err(format!("one answer too many: {}", answer(*to, payload))),
        None => Ok(()),
    }
}

pub(super) fn is_v6(to: Destination) -> bool {
    matches!(to, Destination::Frame6 { .. } | Destination::Udp6 { .. })
}

fn answer(to: Destination, payload: &[u8]) -> String {
    if is_v6(to) { check6::shown(payload) } else { shown(payload) }
}

fn told(outcome: &Outcome) -> String {
    let events: Vec<String> = outcome.events.iter().map(name).collect();
    format!("events: {}", events.join(", "))
}

fn silence(outcome: &Outcome, reason: Option<&str>) -> Result<(), String> {
    if let Some((to, payload)) = outcome.replies.first() {
        return Err(format!("answered: {}", answer(*to, payload)));
    }
    let Some(wanted) = reason else { return Ok(()) };
    let dropped = outcome
        .events
        .iter()
        .any(|e| matches!(e.kind, EventKind::Dropped(reason, _) if reason.as_str() == wanted));
    dropped.then_some(()).ok_or_else(|| told(outcome))
}

/// What an orchestrator was told: a word, and then the addresses or the kind of refusal.
fn told_so(outcome: &Outcome, verb: &str, words: &[&str]) -> Result<(), String> {
    let got = outcome.told.as_deref().unwrap_or("nothing");
    let full = |word: &&str| match verb {
        "denied" => word.to_string(),
        _ => super::words::resource(word).map_or_else(|_| word.to_string(), |r| r.to_string()),
    };
    let want: Vec<String> = [verb.to_string()].into_iter().chain(words.iter().map(full)).collect();
    let want = want.join(" ");
    let same = got == want || (verb != "made" && got.starts_with(&want));
    same.then_some(()).ok_or(format!("told `{got}`, want `{want}`"))
}

fn asks(outcome: &Outcome, addr: IpAddr) -> Result<(), String> {
    let asked = outcome.probes.iter().any(|probe| probe.target == addr);
    asked.then_some(()).ok_or_else(|| format!("nobody asked; {}", told(outcome)))
}

fn event(outcome: &Outcome, wanted: &str) -> Result<(), String> {
    let there = outcome.events.iter().any(|e| name(e) == wanted);
    there.then_some(()).ok_or_else(|| told(outcome))
}

fn name(event: &Event) -> String {
    if let EventKind::Dropped(reason, _) = event.kind {
        return format!("dropped:{}", reason.as_str());
    }
    if let EventKind::Standby(news, _) = &event.kind {
        return format!("standby:{}", news.as_str());
    }
    let debug = format!("{:?}", event.kind);
    debug.split(['(', ' ']).next().unwrap_or_default().to_lowercase()
}

fn shown(payload: &[u8]) -> String {
    let Ok(msg) = Message::parse(payload) else { return "malformed".into() };
    match msg.kind() {
        Kind::Dhcp(MessageType::Nak) => "nak".into(),
        Kind::Dhcp(kind) => format!("{} {}", format!("{kind:?}").to_lowercase(), msg.yiaddr()),
        _ => format!("reply {}", msg.yiaddr()),
    }
}

fn reply(to: Destination, payload: &[u8], verb: &str, words: &[&str]) -> Result<(), String> {
    let msg = Message::parse(payload).map_err(|e| format!("malformed reply: {e}"))?;
    let got = shown(payload);
    let (address, rest) = match words.split_first() {
        Some((first, rest)) if !first.contains('=') => (Some(addr(first)?), rest),
        _ => (None, words),
    };
    let want = match address {
        Some(address) => format!("{verb} {address}"),
        None => verb.to_string(),
    };
    if got != want && !(address.is_none() && got.split(' ').next() == Some(verb)) {
        return Err(format!("got `{got}`, want `{want}`"));
    }
    rest.iter().try_for_each(|word| detail(to, &msg, word))
}

fn detail(to: Destination, msg: &Message<'_>, word: &str) -> Result<(), String> {
    let (key, value) = word.split_once('=').ok_or(format!("what is {word}?"))?;
    let secs = |code: u8| {
        let raw = msg.option(code).and_then(|v| <[u8; 4]>::try_from(v.as_ref()).ok());
        raw.map(u32::from_be_bytes)
    };
    let same = |got: Option<u32>| {
        let want = if value == "infinite" { u32::MAX } else { (span(value)?.0 / 1000) as u32 };
        (got == Some(want)).then_some(()).ok_or(format!("{key} is {got:?}"))
    };
    let text = |field: &[u8]| {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        let got = String::from_utf8_lossy(&field[..end]).into_owned();
        (got == value).then_some(()).ok_or(format!("{key} is `{got}`"))
    };
    match key {
        "lease" => same(secs(opt::LEASE_TIME)),
        "t1" => same(secs(opt::RENEWAL_TIME)),
        "t2" => same(secs(opt::REBINDING_TIME)),
        "file" => text(msg.file()),
        "sname" => text(msg.sname()),
        "next" => (msg.siaddr() == addr(value)?).then_some(()).ok_or(msg.siaddr().to_string()),
        "ciaddr" => (msg.ciaddr() == addr(value)?).then_some(()).ok_or(msg.ciaddr().to_string()),
        "server" => (msg.server_id() == Some(addr(value)?))
            .then_some(())
            .ok_or(format!("server is {:?}", msg.server_id())),
        "size" => {
            let most: usize = value.parse().map_err(|_| "size=BYTES")?;
            let len: usize = msg.options().map(|(_, v)| v.len() + 2).sum::<usize>() + 240;
            (len <= most).then_some(()).ok_or(format!("{len} bytes"))
        }
        "to" => destination(to, value),
        code => option(msg, code.parse().map_err(|_| format!("what is {word}?"))?, value),
    }
}

fn option(msg: &Message<'_>, code: u8, value: &str) -> Result<(), String> {
    let got = msg.option(code);
    match (value, &got) {
        ("absent", None) => Ok(()),
        ("absent", Some(v)) => Err(format!("option {code} is there: {v:02x?}")),
        ("there", Some(_)) => Ok(()),
        (_, Some(v)) if **v == *bytes(value)? => Ok(()),
        (_, got) => Err(format!("option {code} is {got:02x?}")),
    }
}

pub(super) fn destination(to: Destination, want: &str) -> Result<(), String> {
    let got = match to {
        Destination::Frame { ip, .. } if ip.is_broadcast() => "broadcast".to_string(),
        Destination::Frame { ip, mac, .. } => format!("{ip}@c{}", mac.0[5]),
        Destination::Udp { to, .. } => to.to_string(),
        Destination::Frame6 { ip, mac, .. } => format!("{ip}@c{}", mac.0[5]),
        Destination::Udp6 { to: (ip, port), .. } => format!("[{ip}]:{port}"),
        Destination::Advert { .. } => "advertisement".to_string(),
    };
    (got == want).then_some(()).ok_or(format!("sent to {got}"))
}
