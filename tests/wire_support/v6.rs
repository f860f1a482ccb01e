//! What must hold for any DHCPv6 message, shared by the property tests and the fuzz targets.

use foreshadow::base::name::check_name;
use foreshadow::wire::v6_write::PAYLOAD6_MAX;
use foreshadow::wire::{
    Hop, Ia, IaKind, Kind6, Message6, MessageType6, Relayed6, Writer6, v6_build, wrap_relay,
};

/// Reads bytes as a server does, calls every getter, and writes the answer that repeats it all.
pub(crate) fn read_datagram(bytes: &[u8]) {
    let Ok(relayed) = Relayed6::parse(bytes) else { return };
    relayed.hops().iter().for_each(read_hop);
    read_everything(relayed.inner());
    let reply = rewritten(relayed.inner());
    let mut out = b"before".to_vec();
    if wrap_relay(relayed.hops(), &reply, &mut out).is_err() {
        assert_eq!(out, b"before");
        return;
    }
    let mut rest = &out[6..];
    for hop in relayed.hops() {
        assert_eq!((rest[0], rest[1]), (MessageType6::RelayRepl as u8, hop.hop_count));
        assert_eq!(rest[2..18], hop.link_addr.octets());
        assert_eq!(rest[18..34], hop.peer_addr.octets());
        match v6_build::unwrap_relay_reply(rest) {
            Some(inner) => rest = inner,
            None => panic!("no message in {rest:x?}"),
        }
    }
    assert_eq!(rest, reply);
}

fn read_hop(hop: &Hop<'_>) {
    let _ = (hop.remote_id(), hop.subscriber_id(), hop.client_hw(), hop.relay_port());
    let _ = (hop.client_link_layer(), hop.options().count());
    assert_eq!(hop.interface_id(), hop.option(18));
    assert!(hop.option(9).is_some());
}

/// Calls every getter and checks what they say against each other.
pub(crate) fn read_everything(m: &Message6<'_>) {
    let _ = (m.elapsed(), m.preference(), m.status(), m.network_interface(), m.is_ipxe());
    let _ = (m.rapid_commit(), m.reconfigure_accept(), m.vendor_class());
    let shown: usize = m.options().map(|(_, data)| data.len() + 4).sum();
    assert_eq!(m.bytes().len(), 4 + shown, "options end where the message ends");
    for (code, _) in m.options() {
        let mut same = m.options().filter(|(found, _)| *found == code);
        assert_eq!(m.option(code), same.next().map(|(_, data)| data));
        assert_eq!(m.count(code), 1 + same.count());
    }
    for id in [m.client_id(), m.server_id()].into_iter().flatten() {
        assert!((3..=130).contains(&id.len()));
    }
    assert!(m.oro().all(|code| m.wants(code)));
    let classes: usize = m.user_classes().map(<[u8]>::len).sum();
    assert!(classes <= m.option(15).unwrap_or_default().len());
    let _: usize = m.vendor_classes().map(|class| class.items().count()).sum();
    let _ = m.archs().count();
    if let Some(fqdn) = m.fqdn() {
        let name = fqdn.name();
        assert!(name.is_none_or(|name| check_name(&name).is_ok() && !name.is_empty()));
    }
    let codes = m.options().filter(|(code, _)| [3, 4, 25].contains(code));
    assert_eq!(m.ias().count(), codes.count());
    m.ias().for_each(|ia| read_ia(&ia));
}

fn read_ia(ia: &Ia<'_>) {
    let _ = ia.status();
    let shown = |code| ia.options().filter(|(found, _)| *found == code).count();
    let (addrs, prefixes) = (ia.addrs().count(), ia.prefixes().count());
    match ia.kind {
        IaKind::Pd => assert_eq!((addrs, prefixes), (0, shown(26))),
        IaKind::Na | IaKind::Ta => assert_eq!((addrs, prefixes), (shown(5), 0)),
    }
    ia.addrs().for_each(|addr| assert!(addr.status().is_none() || addr.options().count() > 0));
    for prefix in ia.prefixes() {
        assert!(prefix.len <= 128);
        let Some(whole) = prefix.as_prefix() else { panic!("prefix {prefix:?}") };
        if let Some(exclude) = prefix.exclude() {
            assert!(whole.holds(&exclude) && whole != exclude, "{exclude} of {whole}");
        }
    }
}

/// The answer that gives back all associations and options of a message. It reads as it was
/// written, and what was excluded of prefixes is the same.
fn rewritten(m: &Message6<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer6::begin(&mut out, MessageType6::Reply, m.xid(), PAYLOAD6_MAX);
    for (code, data) in m.options().filter(|(code, _)| ![3, 4, 25].contains(code)) {
        writer.option(code, data);
    }
    for ia in m.ias() {
        writer.ia(ia.kind, ia.iaid, ia.t1, ia.t2, |writer| write_ia(&ia, writer));
    }
    if writer.finish().is_err() {
        assert!(out.is_empty());
        return v6_build::RequestV6::new(MessageType6::Reply, m.xid()).build();
    }
    let read = match Message6::parse(&out) {
        Ok(read) => read,
        Err(error) => panic!("what was written does not read: {error}"),
    };
    assert_eq!((read.kind(), read.xid()), (Kind6::Known(MessageType6::Reply), m.xid()));
    let heads = |m: &Message6<'_>| m.ias().map(|ia| (ia.kind, ia.iaid, ia.t1, ia.t2)).collect();
    let (old, new): (Vec<_>, Vec<_>) = (heads(m), heads(&read));
    assert_eq!(old, new);
    for (old, new) in m.ias().zip(read.ias()) {
        let addrs = |ia: &Ia<'_>| ia.addrs().map(|a| (a.addr, a.preferred, a.valid)).collect();
        let (was, is): (Vec<_>, Vec<_>) = (addrs(&old), addrs(&new));
        assert_eq!(was, is);
        let prefixes = |ia: &Ia<'_>| {
            ia.prefixes().map(|p| (p.as_prefix(), p.preferred, p.valid, p.exclude())).collect()
        };
        let (was, is): (Vec<_>, Vec<_>) = (prefixes(&old), prefixes(&new));
        assert_eq!(was, is);
    }
    out
}

fn write_ia(ia: &Ia<'_>, writer: &mut Writer6<'_>) {
    for addr in ia.addrs() {
        writer.ia_addr(addr.addr, addr.preferred, addr.valid, |_| {});
    }
    for prefix in ia.prefixes() {
        let Some(whole) = prefix.as_prefix() else { continue };
        writer.ia_prefix(whole, prefix.preferred, prefix.valid, |writer| {
            if let Some(exclude) = prefix.exclude() {
                writer.pd_exclude(whole, exclude);
            }
        });
    }
}
