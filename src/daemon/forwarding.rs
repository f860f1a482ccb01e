//! Whether the kernel does on an interface what our router advertisements say of it: forward IPv6.

use std::fs;
use std::io;

/// What keeps the kernel from routing IPv6 for the hosts on `interface`, and what would be right;
/// `None` where nothing does, or where that cannot be told.
pub fn obstacle(interface: &str) -> Option<String> {
    obstacle_in(interface, &|path| fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{path}")))
}

fn obstacle_in(interface: &str, read: &dyn Fn(String) -> io::Result<String>) -> Option<String> {
    let value = |of: &str, key: &str| {
        let text = read(format!("{of}/{key}"))?;
        Ok::<_, io::Error>(text.trim().to_owned())
    };
    let key = |of: &str, name: &str| format!("net.ipv6.conf.{}.{name}", of.replace('.', "/"));
    match value(interface, "disable_ipv6").as_deref() {
        Ok("0") => {}
        Ok(found) => {
            return Some(format!("{} is {found}, want 0", key(interface, "disable_ipv6")));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Some("the kernel has no IPv6 there, want an interface that has".into());
        }
        Err(_) => return None,
    }
    // Without the first, neighbours are told that we are no router (RFC 4861 s7.2.4); without the
    // second, the kernel forwards nothing, unless it is forced to for what comes in there.
    let is_off = |of: &str, name| value(of, name).is_ok_and(|found| found == "0");
    let forced = value(interface, "force_forwarding").is_ok_and(|found| found == "1");
    let off = [interface, "all"].into_iter().filter(|of| *of == interface || !forced);
    let off = off.into_iter().find(|of| is_off(of, "forwarding"))?;
    Some(format!("{} is 0, want {} = 1", key(off, "forwarding"), key("all", "forwarding")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_named_with_what_would_be_right() {
        let found = |settings: &[(&str, &str)]| {
            obstacle_in("br0.7", &|path| {
                let known = settings.iter().find(|(key, _)| *key == path);
                let value = known.map(|(_, value)| format!("{value}\n"));
                value.ok_or_else(|| io::ErrorKind::NotFound.into())
            })
        };
        let on = ("br0.7/disable_ipv6", "0");
        let (here, all) = ("br0.7/forwarding", "all/forwarding");
        assert_eq!(found(&[on, (here, "1"), (all, "1")]), None);
        let want = "want net.ipv6.conf.all.forwarding = 1";
        let said = format!("net.ipv6.conf.br0/7.forwarding is 0, {want}");
        assert_eq!(found(&[on, (here, "0"), (all, "1")]), Some(said));
        let said = format!("net.ipv6.conf.all.forwarding is 0, {want}");
        assert_eq!(found(&[on, (here, "1"), (all, "0")]), Some(said));
        let forced = ("br0.7/force_forwarding", "1");
        assert_eq!(found(&[on, (here, "1"), (all, "0"), forced]), None);
        let said = found(&[("br0.7/disable_ipv6", "1"), (here, "1"), (all, "1")]);
        assert_eq!(said.unwrap(), "net.ipv6.conf.br0/7.disable_ipv6 is 1, want 0");
        assert!(found(&[]).unwrap().starts_with("the kernel has no IPv6 there"));
    }
}
