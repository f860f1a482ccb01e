//! What must hold for any message and any reply, shared by the property tests and the fuzz targets.

use std::net::Ipv4Addr;

use foreshadow::base::name::clean_hostname;
use foreshadow::wire::{Dropped, Kind, Message, OutOption, ReplyV4, write_reply};

/// Calls every getter and checks what they say against each other.
pub(crate) fn read_everything(m: &Message<'_>) {
    let _ = (m.op(), m.htype(), m.hops(), m.xid(), m.secs(), m.flags(), m.is_broadcast());
    let _ = (m.ciaddr(), m.yiaddr(), m.siaddr(), m.giaddr(), m.requested_ip(), m.server_id());
    let _ = (m.lease_time(), m.max_message_size(), m.subnet_selection(), m.machine_uuid());
    let _ = (m.vendor_class(), m.rapid_commit(), m.auto_configure(), m.is_ipxe());
    assert_eq!(m.hw().bytes(), &m.chaddr()[..usize::from(m.hlen())]);
    assert_eq!((m.sname().len(), m.file().len()), (64, 128));
    for code in 0..=255 {
        let pieces: Vec<&[u8]> =
            m.options().filter(|(found, _)| *found == code).map(|(_, data)| data).collect();
        assert_eq!(m.has(code), !pieces.is_empty());
        assert_eq!(m.option(code).as_deref(), m.has(code).then(|| pieces.concat()).as_deref());
    }
    assert_eq!(m.kind() == Kind::Bootp, !m.has(53));
    let wanted = m.parameter_list().unwrap_or_default();
    assert!(wanted.iter().all(|code| m.wants(*code)));
    let archs = m.option(93).unwrap_or_default();
    assert_eq!(m.archs().count(), if archs.len().is_multiple_of(2) { archs.len() / 2 } else { 0 });
    let classes: usize = m.user_classes().map(|class| class.len()).sum();
    assert!(classes <= m.user_class().unwrap_or_default().len());
    if let Some(name) = m.hostname() {
        check_hostname(clean_hostname(&name).as_deref());
    }
    if let Some(fqdn) = m.fqdn() {
        let _ = (fqdn.flags(), fqdn.rcode1(), fqdn.rcode2());
        check_hostname(fqdn.name().as_deref());
    }
    if let Some(info) = m.relay_info() {
        let _ = (info.link_selection(), info.server_id_override(), info.source_port());
        let _ = (info.circuit_id(), info.remote_id(), info.subscriber_id());
        let shown: usize = info.iter().map(|(_, data)| data.len() + 2).sum();
        assert_eq!(info.is_malformed(), shown != info.raw().len());
    }
}

/// A cleaned name is one that may stand in a zone file, and cleaning it again changes nothing.
pub(crate) fn check_hostname(name: Option<&str>) {
    let Some(name) = name else { return };
    assert!((1..=253).contains(&name.len()), "{name}");
    for label in name.split('.') {
        assert!((1..=63).contains(&label.len()), "{name}");
        assert!(!label.starts_with('-') && !label.ends_with('-'), "{name}");
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(label.bytes().all(good), "{name}");
    }
    assert_eq!(clean_hostname(name.as_bytes()).as_deref(), Some(name));
}

/// Writes `reply`, reads it back, and checks that nothing was lost but what was said to be.
pub(crate) fn check_written(reply: &ReplyV4<'_>, limit: usize) -> Dropped {
    let mut out = b"before".to_vec();
    let dropped = write_reply(reply, limit, &mut out);
    assert_eq!(&out[..6], b"before");
    let bytes = &out[6..];
    if dropped.is_unsendable() {
        assert!(bytes.is_empty());
        check_unsendable(reply, limit);
        return dropped;
    }
    assert!(bytes.len() >= 300 && bytes.len() <= limit.max(300), "{} of {limit}", bytes.len());
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => panic!("what was written does not read: {error}"),
    };
    for option in reply.options {
        let read = message.option(option.code);
        if dropped.contains(option.code) {
            assert!(!option.required, "required option {} was dropped", option.code);
            assert_eq!(read, None);
        } else {
            assert_eq!(read.as_deref(), Some(option.data), "option {}", option.code);
        }
    }
    let relay_info = message.relay_info();
    assert_eq!(relay_info.as_ref().map(|info| info.raw()), reply.relay_info);
    check_ends(&message, bytes, reply);
    dropped
}

/// What is not required never keeps a reply from being sent.
fn check_unsendable(reply: &ReplyV4<'_>, limit: usize) {
    let required: Vec<OutOption<'_>> =
        reply.options.iter().copied().filter(|option| option.required).collect();
    let least = ReplyV4 { options: &required, ..*reply };
    assert!(write_reply(&least, limit, &mut Vec::new()).is_unsendable());
}

/// END closes every field that holds options, with nothing but PAD behind it; before it, in the
/// options field, stands the relay agent information.
fn check_ends(message: &Message<'_>, bytes: &[u8], reply: &ReplyV4<'_>) {
    let overload = message.option(52).map_or(0, |data| data[0]);
    let fields = [
        (&bytes[240..], true),
        (message.file(), overload & 1 != 0),
        (message.sname(), overload & 2 != 0),
    ];
    for (i, (field, used)) in fields.into_iter().enumerate() {
        if !used {
            continue;
        }
        let mut at = 0;
        let mut last = 0;
        while field[at] != 255 {
            last = field[at];
            assert_ne!(last, 0, "PAD between options");
            at += 2 + usize::from(field[at + 1]);
        }
        assert!(field[at + 1..].iter().all(|byte| *byte == 0), "bytes behind END");
        if i == 0 && reply.relay_info.is_some() {
            assert_eq!(last, 82);
        }
    }
    assert!(overload & 1 == 0 || reply.file.is_empty());
    assert!(overload & 2 == 0 || reply.sname.is_empty());
}

/// The answer that repeats what a message said, with every third option required.
pub(crate) fn check_rewritten(m: &Message<'_>, limit: usize) {
    let codes = (1..=254).filter(|code| ![52, 82].contains(code) && m.has(*code));
    let data: Vec<_> = codes.filter_map(|code| Some((code, m.option(code)?))).collect();
    let options: Vec<OutOption<'_>> = data
        .iter()
        .map(|(code, data)| OutOption { code: *code, data, required: code % 3 == 0 })
        .collect();
    let info = m.relay_info();
    let text = |field: &'static [u8], bit: u16| if m.secs() & bit == 0 { field } else { b"" };
    let reply = ReplyV4 {
        htype: m.htype(),
        hlen: m.hlen(),
        hops: 0,
        xid: m.xid(),
        secs: 0,
        flags: m.flags(),
        ciaddr: m.ciaddr(),
        yiaddr: Ipv4Addr::LOCALHOST,
        siaddr: m.siaddr(),
        giaddr: m.giaddr(),
        chaddr: m.chaddr(),
        sname: text(b"boot", 1),
        file: text(b"a.efi", 2),
        options: &options,
        relay_info: info.as_ref().map(|info| info.raw()),
    };
    check_written(&reply, limit);
}
