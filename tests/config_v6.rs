//! What the policy holds of a file that speaks of IPv6.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::Ipv6Addr;

use foreshadow::base::{Prefix6, Span};
use foreshadow::config::policy::{
    Generate, HostId, HostId6, Network, Policy, PrefixExclude, RaPolicy,
};
use foreshadow::config::{Faults, check};
use proptest::prelude::*;

fn good(text: &str) -> Policy {
    match check(text, "test.toml") {
        Ok(loaded) if loaded.warnings.is_empty() => loaded.policy,
        Ok(loaded) => panic!("{}", loaded.render(&loaded.warnings, false)),
        Err(faults) => panic!("{}", faults.render(false)),
    }
}

fn bad(text: &str) -> Faults {
    check(text, "test.toml").expect_err("the file should be refused")
}

/// A network on br0 that says `below`.
fn network(below: &str) -> Network {
    let text = format!("[[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n{below}");
    good(&text).networks.remove(0)
}

fn addr(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix6 {
    text.parse().unwrap()
}

const SUBNET: &str = r#"
[[network.subnet]]
prefix = "2001:db8:1::/64"
pools = ["2001:db8:1::1000-2001:db8:1::1fff"]
"#;

#[test]
fn a_network_may_have_both_families() {
    let net = network(&format!(
        "relays = [\"10.1.0.0/16\", \"2001:db8:5::1\"]\npreference = 7\n\
         [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.9\"]\n{SUBNET}"
    ));
    assert_eq!((net.subnets.len(), net.subnets6.len()), (1, 1));
    assert_eq!((net.relays.len(), &*net.v6.relays6), (1, &[prefix("2001:db8:5::1/128")][..]));
    assert_eq!(net.v6.preference, Some(7));
    assert!(net.believes6(addr("2001:db8:5::1")) && !net.believes6(addr("2001:db8:5::2")));
    let subnet = net.subnet6_of(addr("2001:db8:1::77")).unwrap();
    assert!(net.is_local6(subnet));
    assert_eq!(subnet.pools[0].generate, Generate::Iterative);
    assert!(net.v6.ra.is_none());
}

#[test]
fn pools_know_what_they_give() {
    let net = network(
        "[[network.reservation]]\nmac = \"52:54:00:00:00:01\"\naddresses = [\"2001:db8:1::7\"]\n\
         [[network.subnet]]\nprefix = \"2001:db8:1::/64\"\n\
         [[network.subnet.pool]]\nrange = \"2001:db8:1::/64\"\nexclude = [\"2001:db8:1::8-2001:db8:1::ff\"]\n",
    );
    let pool = &net.subnets6[0].pools[0];
    assert_eq!(pool.generate, Generate::Random);
    let excluded: Vec<String> = pool.excluded.iter().map(|(a, b)| format!("{a}-{b}")).collect();
    assert_eq!(
        excluded,
        [
            "2001:db8:1::-2001:db8:1::",
            "2001:db8:1::7-2001:db8:1::ff",
            "2001:db8:1:0:fdff:ffff:ffff:ff80-2001:db8:1:0:fdff:ffff:ffff:ffff"
        ]
    );
    for (text, want) in [
        ("2001:db8:1::", false),
        ("2001:db8:1::1", true),
        ("2001:db8:1::7", false),
        ("2001:db8:1::ff", false),
        ("2001:db8:1::100", true),
        ("2001:db8:1:0:fdff:ffff:ffff:ff80", false),
        ("2001:db8:1:0:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:1::", false),
    ] {
        assert_eq!(pool.gives(addr(text)), want, "{text}");
    }
}

#[test]
fn delegations_leave_out_what_is_reserved() {
    let net = network(
        "[[network.reservation]]\nduid = \"00:03:00:01:52:54:00:00:00:01\"\n\
         prefixes = [\"2001:db8:8000:200::/56\", \"2001:db8:bb00::/56\"]\n\
         [[network.subnet]]\nprefix = \"2001:db8:1::/64\"\n\
         delegations = [{ prefix = \"2001:db8:9000::/40\", length = 60 }]\n\
         [[network.subnet.delegation]]\nprefix = \"2001:db8:8000::/40\"\nlength = 56\n\
         min_length = 48\nmax_length = 60\nexclude = { length = 64, id = 15 }\ninstall_route = true\n",
    );
    let [pool, second] = &net.subnets6[0].delegations[..] else { panic!("two pools") };
    assert_eq!((pool.prefix, second.prefix.len()), (prefix("2001:db8:8000::/40"), 40));
    assert_eq!((second.min_length, second.length, second.max_length), (60, 60, 60));
    assert!(pool.install_route && !second.install_route);
    let routed = |text| net.routed().any(|pool| pool.prefix.holds(&prefix(text)));
    assert!(routed("2001:db8:8000:200::/56"), "also where it is reserved");
    assert!(!routed("2001:db8:9000::/60") && !routed("2001:db8:bb00::/56"));
    assert_eq!(pool.excluded, [prefix("2001:db8:8000:200::/56")]);
    for (text, want) in [
        ("2001:db8:8000::/56", true),
        ("2001:db8:8000::/48", false),
        ("2001:db8:8001::/48", true),
        ("2001:db8:8000:200::/60", false),
        ("2001:db8:8000:300::/60", true),
        ("2001:db8:8002::/47", false),
        ("2001:db8:8001::/64", false),
        ("2001:db8:8100::/56", false),
    ] {
        assert_eq!(pool.gives(prefix(text)), want, "{text}");
    }
    let exclude = pool.exclude.unwrap();
    assert_eq!(
        exclude.of(prefix("2001:db8:8000:100::/56")),
        Some(prefix("2001:db8:8000:10f::/64"))
    );
    assert_eq!(exclude.of(prefix("2001:db8:8000::/60")), Some(prefix("2001:db8:8000:f::/64")));
    assert_eq!(exclude.of(prefix("2001:db8:8000::/61")), None, "the number does not fit");
    assert_eq!(exclude.of(prefix("2001:db8:8000::/64")), None, "no longer than the delegated one");
    let whole = PrefixExclude { length: 128, id: u128::MAX };
    assert_eq!(whole.of(prefix("::/0")), Prefix6::new(Ipv6Addr::from_bits(u128::MAX), 128));
    assert_eq!(net.reservations6[0].prefixes.len(), 2);
}

#[test]
fn a_reservation_by_mac_may_serve_both_families() {
    let net = network(&format!(
        "[[network.reservation]]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.0.10\"\n\
         addresses = [\"2001:db8:1::10\", \"2001:db8:1::11\"]\nhostname = \"web-1\"\n\
         [[network.reservation]]\ninterface_id = \"port-a\"\naddresses = [\"2001:db8:1::12\"]\n\
         [[network.subnet]]\nprefix = \"10.0.0.0/24\"\n{SUBNET}\
         [[network.subnet.reservation]]\nduid = \"00:04:00:01\"\naddresses = [\"2001:db8:1::13\"]\n"
    ));
    let [four] = &net.reservations[..] else { panic!("one of IPv4") };
    assert!(matches!(four.host, HostId::Hardware(_)));
    let [both, port, duid] = &net.reservations6[..] else { panic!("three of IPv6") };
    assert_eq!((both.addrs.len(), both.hostname.as_deref()), (2, Some("web-1")));
    assert!(matches!(both.host, HostId6::Hardware(_)));
    assert_eq!(port.host, HostId6::InterfaceId((*b"port-a").into()));
    assert_eq!(duid.host, HostId6::Duid([0, 4, 0, 1].into()));
    assert!(!net.subnets6[0].pools[0].gives(addr("2001:db8:1::2000")));
}

#[test]
fn subnets_behind_relays_are_not_on_the_link() {
    let net = network(&format!(
        "relays = [\"2001:db8:2::/64\"]\nrouter_advertisements = true\n{SUBNET}\
         [[network.subnet]]\nprefix = \"2001:db8:2::/64\"\npools = [\"2001:db8:2::/64\"]\n\
         [[network.subnet]]\nprefix = \"2001:db8:3::/64\"\ninterface_ids = [\"port-b\", \"0x0001\"]\n"
    ));
    let local: Vec<bool> = net.subnets6.iter().map(|s| net.is_local6(s)).collect();
    assert_eq!(local, [true, false, false]);
    assert_eq!(&*net.subnets6[2].interface_ids[1], [0, 1]);
    let told: Vec<Prefix6> = net.v6.ra.unwrap().prefixes.iter().map(|p| p.prefix).collect();
    assert_eq!(told, [prefix("2001:db8:1::/64")]);
}

fn advertisements(said: &str, below: &str) -> RaPolicy {
    network(&format!("{said}\n{below}")).v6.ra.unwrap()
}

#[test]
fn advertisements_have_the_defaults_of_their_rfcs() {
    let options =
        "options6 = { dns-servers = [\"2001:db8:1::53\"], domain-search = [\"a.net\", \"b.net\"] }";
    let ra = advertisements("router_advertisements = true", &format!("{SUBNET}{options}"));
    assert!(ra.managed && ra.other && !ra.router && !ra.goodbye);
    assert_eq!((ra.min_interval, ra.max_interval), (Span::from_secs(200), Span::from_secs(600)));
    assert_eq!(
        (ra.router_lifetime, ra.dns_lifetime),
        (Span::from_secs(1800), Span::from_secs(1800))
    );
    let [told] = ra.prefixes[..] else { panic!("one prefix") };
    assert_eq!((told.on_link, told.autonomous), (true, false));
    assert_eq!((told.valid.to_string(), told.preferred.to_string()), ("30d".into(), "7d".into()));
    assert_eq!(ra.rdnss, [addr("2001:db8:1::53")]);
    assert_eq!(ra.dnssl.iter().map(|n| &**n).collect::<Vec<_>>(), ["a.net", "b.net"]);
    assert_eq!((ra.mtu, ra.pref64), (None, None));

    let empty = "[[network.subnet]]\nprefix = \"2001:db8:1::/64\"\n[[network.reservation]]\n\
                 duid = \"00:04:01\"\nprefixes = [\"2001:db8:8000::/56\"]\n";
    let ra = advertisements("router_advertisements = { max_interval = \"8s\" }", empty);
    assert!(!ra.managed && !ra.other);
    assert_eq!(ra.min_interval, Span::from_secs(6));
}

#[test]
fn advertisements_say_what_they_are_told() {
    let ra = advertisements(
        "[network.router_advertisements]\nmanaged = false\nrouter = true\nrdnss = []\n\
         pref64 = \"64:ff9b::/96\"\npref64_lifetime = \"1001s\"\nmtu = 1450\ngoodbye = true\n\
         [[network.router_advertisements.prefix]]\nprefix = \"2001:db8:9::/64\"\n\
         autonomous = true\nvalid = \"infinite\"\npreferred = \"infinite\"\n",
        &format!("{SUBNET}options6 = {{ dns-servers = \"2001:db8::1\" }}"),
    );
    assert!(!ra.managed && ra.router && ra.goodbye);
    assert_eq!((ra.rdnss.len(), ra.mtu), (0, Some(1450)));
    assert_eq!(ra.pref64, Some((prefix("64:ff9b::/96"), Span::from_secs(1008))));
    let [told] = ra.prefixes[..] else { panic!("one prefix") };
    assert!(told.autonomous && told.valid.is_forever() && told.preferred.is_forever());
}

#[test]
fn boot_files_become_options() {
    let policy = good(
        "boot_file = \"http://10.0.0.2/a.efi\"\nboot_params = [\"a\", \"b\"]\n\
         [[class]]\nname = \"bios\"\nmatch.arch = 0\nboot_file = \"undionly.kpxe\"\n\
         [[class]]\nname = \"efi\"\nmatch.arch = 16\nboot_file = \"http://10.0.0.2/b.efi\"\n\
         boot_file_url = \"http://[2001:db8::2]/b.efi\"\noptions6.sol-max-rt = 60\n\
         [[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
         [[network.subnet]]\nprefix = \"2001:db8:1::/64\"\npools = [\"2001:db8:1::/64\"]\n",
    );
    let url = |set: &foreshadow::config::policy::Settings| {
        let data = set.options6.get(59).first().map(|o| o.data.to_vec());
        data.map(|data| String::from_utf8(data).unwrap())
    };
    assert_eq!(url(&policy.settings).as_deref(), Some("http://10.0.0.2/a.efi"));
    assert_eq!(&*policy.settings.options6.get(60)[0].data, b"\0\x01a\0\x01b");
    assert_eq!(url(&policy.classes[0].settings), None, "a file by TFTP says nothing to DHCPv6");
    assert_eq!(url(&policy.classes[1].settings).as_deref(), Some("http://[2001:db8::2]/b.efi"));
    let codes: Vec<u16> =
        policy.classes[1].settings.options6.entries.iter().map(|o| o.code).collect();
    assert_eq!(codes, [59, 82]);
}

#[test]
fn options_of_several_instances_are_one_setting() {
    let policy = good(
        "options6 = { ntp-server = [\"2001:db8::1\", \"n.net\"], dns-servers = \"2001:db8::1\" }\n\
         server.duid = \"00:02:00:00:ab:11:01\"\n\
         [[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
         [[network.subnet]]\nprefix = \"2001:db8:1::/64\"\npools = [\"2001:db8:1::/64\"]\n",
    );
    let set = &policy.settings.options6;
    assert_eq!([22, 23, 56, 57].map(|code| set.get(code).len()), [0, 1, 2, 0]);
    assert_eq!(policy.server.server_duid.as_deref(), Some(&[0, 2, 0, 0, 0xab, 0x11, 1][..]));
}

#[test]
fn preferred_is_never_longer_than_valid() {
    let lease = |text: &str| network(&format!("lease = {text}\n{SUBNET}")).settings.lease;
    let hour = Span::from_secs(3600);
    assert_eq!(lease("{}").preferred_of(hour), hour);
    let short = lease("{ preferred = \"30m\" }");
    assert_eq!(short.preferred_of(hour), Span::from_secs(1800));
    assert_eq!(short.preferred_of(Span::from_secs(60)), Span::from_secs(60));
}

#[test]
fn classes_of_one_protocol_say_so() {
    let policy = good(
        "[[class]]\nname = \"a\"\nmatch.link_address = \"2001:db8::/32\"\n\
         [[class]]\nname = \"b\"\nmatch.giaddr = \"10.0.0.1\"\n\
         [[class]]\nname = \"c\"\nmatch.duid = \"00:03\"\n\
         [[class]]\nname = \"d\"\nmatch.hostname = \"x\"\n\
         [[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
         [[network.subnet]]\nprefix = \"2001:db8:1::/64\"\npools = [\"2001:db8:1::/64\"]\n",
    );
    let only: Vec<(bool, bool)> =
        policy.classes.iter().map(|c| (c.matcher.only_v4(), c.matcher.only_v6())).collect();
    assert_eq!(only, [(false, true), (true, false), (false, true), (false, false)]);
}

/// The hostile case: a prefix length that no prefix has.
#[test]
fn prefix_length_over_128_is_refused_wherever_it_stands() {
    for text in [
        "[[network.subnet]]\nprefix = \"2001:db8::/129\"",
        "relays = \"2001:db8::/255\"",
        "[[network.reservation]]\nmac = \"52:54:00:00:00:01\"\nprefixes = [\"2001:db8::/999\"]",
        "[network.router_advertisements]\npref64 = \"64:ff9b::/129\"",
    ] {
        let faults = bad(&format!("[[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n{text}\n"));
        assert!(faults.render(false).contains("not an IPv6 prefix"), "{}", faults.render(false));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever the lengths, a pool that is taken is one that can be cut.
    #[test]
    fn delegations_that_are_taken_fit(
        whole in 8u8..=128, min in 1u8..=128, length in 1u8..=128, max in 1u8..=128,
        exclude in 1u8..=128, id in 0u64..300,
    ) {
        let whole = Prefix6::new(addr("2001:db8:8000::"), whole).unwrap();
        let text = format!(
            "[[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
             [[network.subnet]]\nprefix = \"fd00::/64\"\n[[network.subnet.delegation]]\n\
             prefix = \"{whole}\"\nlength = {length}\nmin_length = {min}\nmax_length = {max}\n\
             exclude = {{ length = {exclude}, id = {id} }}\n"
        );
        let fits = whole.len() <= min && min <= length && length <= max && max < exclude
            && u128::from(id).checked_shr(u32::from(exclude - max)).unwrap_or(0) == 0;
        let loaded = check(&text, "test.toml");
        prop_assert_eq!(loaded.is_ok(), fits, "{}", text);
        if let Ok(loaded) = loaded {
            let pool = &loaded.policy.networks[0].subnets6[0].delegations[0];
            for len in [min, length, max] {
                let delegated = Prefix6::new(whole.last(), len).unwrap();
                prop_assert!(pool.gives(delegated));
                let part = pool.exclude.unwrap().of(delegated).unwrap();
                prop_assert!(delegated.holds(&part) && part.len() == exclude);
            }
        }
    }
}
