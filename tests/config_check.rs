//! Good files, bad files with what is drawn of them, and any text at all.
//!
//! `tests/config/bad/*.toml` each stand beside the `.expected` rendering of their faults;
//! `BLESS=1 cargo test` rewrites those.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use foreshadow::base::Span;
use foreshadow::config::policy::{HostId, Identity, LeaseTimes};
use foreshadow::config::{FaultKind, Faults, Loaded, Severity, check, load};
use proptest::prelude::*;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn toml_files(directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root(directory)).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

fn good(text: &str) -> Loaded {
    match check(text, "test.toml") {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{}", faults.render(false)),
    }
}

fn bad(text: &str) -> Faults {
    check(text, "test.toml").expect_err("the file should be refused")
}

const LAN: &str = r#"
[[network]]
name = "lan"
interfaces = "br0"
[[network.subnet]]
prefix = "10.0.0.0/24"
pools = ["10.0.0.100-10.0.0.199"]
"#;

/// Goes behind [`ADVERTISE`] or after [`LAN`]'s `[[network]]`.
const LAN6: &str = r#"
[[network.subnet]]
prefix = "2001:db8::/64"
pools = ["2001:db8::1000-2001:db8::1fff"]
"#;

const ADVERTISE: &str = r#"
[[network]]
name = "lan"
interfaces = "br0"
[network.router_advertisements]"#;

const DELEGATION: &str = r#"
[[network.subnet.delegation]]
prefix = "2001:db8:8000::/40"
length = 56"#;

const ACCOUNT: &str = r#"
[[account]]
name = "shop"
"#;

const HOOK: &str = r#"
[[hook]]
name = "cmdb"
events = ["granted"]
command = ["/bin/true"]
"#;

const DRIVER: &str = r#"
[[driver]]
name = "kvm"
"#;

const AGENTS: &str = r#"
[agents]
ca = "/etc/foreshadow/agents/ca.pem"
certificate = "/etc/foreshadow/agents/foreshadow.pem"
key = "/etc/foreshadow/agents/foreshadow.key"
[[agents.host]]
name = "hv2"
address = "192.0.2.2:7644"
"#;

const SCRAPE: &str = r#"
[[scrape]]
name = "node"
url = "http://127.0.0.1:9100/metrics"
"#;

#[test]
fn bad_files_are_drawn_as_expected() {
    let files = toml_files("tests/config/bad");
    assert!(files.len() >= 30, "only {} bad files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let drawn = match check(&text, name) {
            Err(faults) => faults.render(false),
            Ok(loaded) if loaded.warnings.is_empty() => panic!("{name} is taken"),
            Ok(loaded) => loaded.render(&loaded.warnings, false),
        } + "\n";
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &drawn).unwrap();
        }
        let want = std::fs::read_to_string(&expected).unwrap_or_default();
        if drawn != want {
            wrong.push(format!("{name}: want\n{want}\ngot\n{drawn}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_checks_clean() {
    let files = toml_files("config");
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    for name in [
        "minimal.toml",
        "libvirt.toml",
        "proxmox.toml",
        "relay.toml",
        "pxe.toml",
        "hooks.toml",
        "standby.toml",
        "cloud.toml",
    ] {
        assert!(names.contains(&name), "config/{name} is missing");
    }
    for path in files {
        let loaded = load(&path).unwrap_or_else(|faults| panic!("{}", faults.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.render(&loaded.warnings, false));
    }
}

#[test]
fn examples_say_what_they_mean() {
    let relay = load(&root("config/relay.toml")).unwrap().policy;
    assert_eq!(relay.networks[0].identity, Identity::CircuitId);
    assert!(relay.networks[1].believes("10.2.1.1".parse().unwrap()));
    let hosts: Vec<&HostId> = relay.networks[0].reservations.iter().map(|r| &r.host).collect();
    assert_eq!(hosts[0], &HostId::CircuitId((*b"Ethernet1/1").into()));
    assert_eq!(hosts[1], &HostId::CircuitId([0, 4, 0, 1, 1, 2].into()));
    let rack = &relay.networks[1];
    assert!(rack.believes6("2001:db8:2::1".parse().unwrap()) && rack.v6.ra.is_none());
    assert_eq!((rack.subnets6[0].delegations.len(), rack.reservations6.len()), (1, 2));
    let pxe = load(&root("config/pxe.toml")).unwrap().policy;
    let ipxe = pxe.classes.iter().find(|c| &*c.name == "ipxe").unwrap();
    assert_eq!(&*ipxe.settings.options.get(175).unwrap().data, [176, 1, 1]);
    let url = |class: usize| pxe.classes[class].settings.options6.get(59)[0].data.to_vec();
    assert_eq!(url(0), b"http://[2001:db8:b007::2]/boot.ipxe");
    assert_eq!(url(1), b"http://[2001:db8:b007::2]/ipxe.efi");
    let bios = pxe.classes.iter().find(|c| &*c.name == "pxe-bios").unwrap();
    let vendor = bios.settings.options.get(43).unwrap();
    assert_eq!((&*vendor.data, vendor.always), (&[6, 1, 8][..], true));
}

/// One of the published flaws: a reload with one bad reservation stopped the server.
#[test]
fn reload_with_one_bad_reservation_refuses_the_whole_file_and_names_the_line() {
    let text = format!(
        "{LAN}[[network.reservation]]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.0.10\"\n\
         [[network.reservation]]\nmac = \"52:54:00:00:00:02\"\naddress = \"10.9.0.10\"\n"
    );
    let faults = bad(&text);
    let [fault] = faults.list() else { panic!("{}", faults.render(false)) };
    assert_eq!(fault.kind, FaultKind::Outside);
    assert_eq!((fault.line, fault.column), (13, 11));
    assert_eq!(fault.key, "network[0].reservation[1].address");
    assert_eq!(fault.found, "\"10.9.0.10\"");
    assert!(faults.to_string().starts_with("test.toml:13:11: "), "{faults}");
}

#[test]
fn two_of_one_address_point_at_the_first() {
    let text = format!(
        "{LAN}[[network.reservation]]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.0.10\"\n\
         [[network.reservation]]\nmac = \"52:54:00:00:00:02\"\naddress = \"10.0.0.10\"\n"
    );
    let faults = bad(&text);
    let [fault] = faults.list() else { panic!("{}", faults.render(false)) };
    let related = fault.related.as_ref().unwrap();
    assert_eq!((fault.line, related.line, related.column), (13, 10, 11));
}

#[test]
fn positions_count_characters_not_bytes() {
    let faults = bad("options = { domain-name = \"\u{e4}\u{f6}\", routers = \"x\" }");
    let fault = &faults.list()[0];
    assert_eq!((fault.line, fault.column, fault.found.as_str()), (1, 43, "\"x\""));
}

#[test]
fn interfaces_that_are_not_there_are_warnings_at_their_line() {
    let loaded = good(&LAN.replace("\"br0\"", "[\"br0\", \"vm-*\", \"eth0\"]"));
    let warnings = loaded.check_links(&["lo".into(), "br0".into(), "vm-7".into()]);
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert_eq!(warning.severity, Severity::Warning);
    assert_eq!((warning.line, warning.column), (4, 30));
    assert_eq!(warning.key, "network[0].interfaces[2]");
    assert!(loaded.render(&warnings, false).contains("interfaces = "));
    assert_eq!(foreshadow::config::check_links(&loaded.policy, &["eth0".into()]).len(), 2);
}

#[test]
fn reserved_and_own_addresses_are_left_out_of_pools() {
    let text = LAN
        .replace("10.0.0.100-10.0.0.199\"]", "10.0.0.0/24\"]\noptions.routers = \"10.0.0.1\"")
        + "[[network.reservation]]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.0.2\"\n";
    let text = text.replace("interfaces", "server_id = \"10.0.0.9\"\ninterfaces");
    let policy = good(&text).policy;
    let pool = &policy.networks[0].subnets[0].pools[0];
    assert_eq!(pool.range.to_string(), "10.0.0.1-10.0.0.254");
    let excluded: Vec<String> = pool.excluded.iter().map(|r| r.to_string()).collect();
    assert_eq!(excluded, ["10.0.0.1-10.0.0.2", "10.0.0.9-10.0.0.9"]);
}

#[test]
fn pools_are_in_ascending_order() {
    let text = LAN.replace("10.0.0.100-10.0.0.199\"", "10.0.0.90-10.0.0.99\", \"10.0.0.7\"");
    let policy = good(&text).policy;
    let pools = &policy.networks[0].subnets[0].pools;
    let ranges: Vec<String> = pools.iter().map(|p| p.range.to_string()).collect();
    assert_eq!(ranges, ["10.0.0.7-10.0.0.7", "10.0.0.90-10.0.0.99"]);
}

#[test]
fn short_leases_bend_the_built_in_minimum() {
    let lease = |text: &str| good(&format!("{text}\n{LAN}")).policy.settings.lease;
    let short = lease("lease.default = 30");
    let half = Some(Span::from_secs(30));
    assert_eq!((short.min, short.default, short.max), (half, half, None));
    let endless = lease("lease.default = \"infinite\"");
    assert_eq!((endless.default, endless.max), (Some(Span::FOREVER), Some(Span::FOREVER)));
    assert_eq!(lease(""), LeaseTimes::default());
}

/// What the reference gives as a default is what holds without the key.
#[test]
fn defaults_are_what_the_reference_says() {
    let keys = foreshadow::config::reference::keys();
    let mut section = "";
    let mut tried = 0;
    for line in keys.lines() {
        if let Some(header) = line.strip_prefix("### ") {
            section = header.trim_matches('`');
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let [key, _, default, _] = cells.as_slice() else { continue };
        let Some(value) = default.strip_prefix('`').and_then(|d| d.strip_suffix('`')) else {
            continue;
        };
        let key = key.trim_start_matches("| ").trim_matches('`');
        if key == "interfaces" {
            continue; // One of interfaces and relays must be there.
        }
        let said = format!("{key} = {value}\n");
        let text = match section {
            "The top level" | "Settings" => format!("{said}{LAN}"),
            "lease" => format!("lease.{said}{LAN}"),
            "[[network]]" => {
                LAN.replace("[[network.subnet]]", &format!("{said}[[network.subnet]]"))
            }
            "[[network.subnet]]" if ["delegations", "interface_ids"].contains(&key) => {
                format!("{LAN}[[network.subnet]]\nprefix = \"2001:db8::/64\"\n{said}")
            }
            "[[network.subnet.delegation]]" => format!("{LAN}{LAN6}{DELEGATION}\n{said}"),
            "[network.subnet.delegation.exclude]" => {
                format!("{LAN}{LAN6}{DELEGATION}\nexclude.{said}exclude.length = 64\n")
            }
            "[network.router_advertisements]" => format!("{ADVERTISE}\n{said}{LAN6}"),
            "[network.tiers.hot]" => LAN.replace(
                "[[network.subnet]]",
                &format!("[network.tiers.hot]\n{said}[[network.subnet]]"),
            ),
            "[[network.router_advertisements.prefix]]" => {
                let prefix = "prefix = \"2001:db8::/64\"";
                format!(
                    "{ADVERTISE}\n[[network.router_advertisements.prefix]]\n{prefix}\n{said}{LAN6}"
                )
            }
            "[[network.subnet]]" => {
                format!("{LAN}[[network.subnet]]\nprefix = \"10.0.1.0/24\"\n{said}")
            }
            "[[network.subnet.pool]]" => {
                format!("{LAN}[[network.subnet.pool]]\nrange = \"10.0.0.7\"\n{said}")
            }
            "[[account]]" => format!("{LAN}{ACCOUNT}{said}"),
            "Shadow" => format!("{LAN}{ACCOUNT}[account.shadow]\n{said}"),
            "Hold" => LAN.replace(
                "[[network.subnet]]",
                &format!("[network.hold]\n{said}[[network.subnet]]"),
            ),
            "[[account.application]]" => {
                format!("{LAN}{ACCOUNT}[[account.application]]\nname = \"web\"\n{said}")
            }
            "[[hook]]" => format!("{LAN}{HOOK}{said}"),
            "[[driver]]" => format!("{LAN}{DRIVER}{said}"),
            "Act" => format!("{LAN}{DRIVER}[driver.wake]\n{said}"),
            "[[agents.host]]" => format!("{LAN}{AGENTS}{said}"),
            "[[scrape]]" => format!("{LAN}{SCRAPE}{said}"),
            "[[scrape.metric]]" => {
                format!("{LAN}{SCRAPE}[[scrape.metric]]\nfrom = \"node_load1\"\n{said}")
            }
            "[option-definitions.NAME]" => format!(
                "options.x = 1\n[option-definitions.x]\ncode = 224\ntype = \"u8\"\n{said}{LAN}"
            ),
            header => format!("{header}\n{said}{LAN}"),
        };
        if let "[network.verify]"
        | "[network.limits]"
        | "[network.lifecycle]"
        | "[network.relocation]"
        | "[network.reconcile]"
        | "[network.standby]"
        | "[network.standby.detect]"
        | "[network.guard]" = section
        {
            let table = section.trim_matches(['[', ']']).trim_start_matches("network.");
            let said = format!("{table}.{said}[[network.subnet]]");
            let text = LAN.replace("[[network.subnet]]", &said);
            assert_eq!(shown(&text), shown(LAN), "{text}");
        } else {
            let without = text
                .replacen(&said, "", 1)
                .replace("lease.", "")
                .replace("exclude.exclude.", "exclude.");
            assert_eq!(shown(&text), shown(&without), "{text}");
        }
        tried += 1;
    }
    assert!(tried >= 25, "only {tried} defaults tried");
}

/// The policy as text, with times that equal the built-in ones left out.
fn shown(text: &str) -> String {
    let mut policy = good(text).policy;
    let lease = &mut policy.settings.lease;
    let built_in = LeaseTimes::DEFAULT;
    lease.min = lease.min.filter(|min| Some(*min) != built_in.min);
    lease.default = lease.default.filter(|default| Some(*default) != built_in.default);
    lease.max = lease.max.filter(|max| Some(*max) != built_in.max);
    for network in &mut policy.networks {
        network.hold.min = network.hold.min.filter(|min| *min != Span::ZERO);
    }
    format!("{policy:#?}")
}

#[test]
fn the_same_prefix_on_two_links_is_legal() {
    let second = LAN.replace("lan", "lan2").replace("br0", "br1");
    assert_eq!(good(&format!("{LAN}{second}")).policy.networks.len(), 2);
}

#[test]
fn the_network_that_names_an_interface_has_it() {
    let glob = LAN.replace("lan", "all").replace("br0", "br*").replace("10.0.0.", "10.0.1.");
    let policy = good(&format!("{glob}{LAN}")).policy;
    let name = |interface: &str| policy.network_on(interface).map(|n| &*n.name);
    assert_eq!((name("br0"), name("br1"), name("eth0")), (Some("lan"), Some("all"), None));
}

#[test]
fn a_file_that_is_not_there_is_a_fault_like_any_other() {
    let faults = load(Path::new("/nonexistent/foreshadow.toml")).unwrap_err();
    assert_eq!(faults.list()[0].kind, FaultKind::Unreadable);
    assert!(faults.render(false).contains("/nonexistent/foreshadow.toml"));
}

#[test]
fn faults_are_json_for_programs() {
    let faults = bad("[log]\nformat = \"xml\"\n");
    let json = serde_json::to_value(&faults.list()[0]).unwrap();
    assert_eq!(json["kind"], "bad-value");
    assert_eq!(json["severity"], "error");
    assert_eq!(json["key"], "log.format");
    assert_eq!(json["line"], 2);
    assert_eq!(json["kind"], faults.list()[0].kind.as_str());
}

#[test]
fn colours_only_when_asked_for() {
    let faults = bad("[log]\nformat = \"xml\"\n");
    assert!(!faults.render(false).contains('\u{1b}'));
    assert!(faults.render(true).contains('\u{1b}'));
}

#[test]
fn depth_and_size_have_bounds() {
    for deep in [
        "a.".repeat(100_000) + "a = 1",
        "a = ".to_owned() + &"[".repeat(100_000),
        "a = ".to_owned() + &"{ a = ".repeat(100_000),
        "[".to_owned() + &"a.".repeat(100_000) + "a]",
    ] {
        assert!(check(&deep, "deep").is_err());
    }
    let many = "[[network]]\n".repeat(5_000);
    let faults = bad(&many);
    assert!(faults.list().len() <= foreshadow::config::FAULTS_MAX && faults.more() > 0);
    assert!(faults.list().iter().any(|f| f.kind == FaultKind::Limit));
}

/// A file to break: every example in one.
fn seed() -> String {
    let mut texts: Vec<String> = Vec::new();
    for path in toml_files("config").into_iter().chain(toml_files("tests/config/bad")) {
        texts.push(std::fs::read_to_string(path).unwrap());
    }
    texts.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// No text makes the check panic, and whatever it refuses it can draw.
    #[test]
    fn any_text_is_taken_or_drawn(text in "\\PC*|[ -~\\n]{0,400}") {
        draw(&text);
    }

    /// Nor does any file that was nearly right.
    #[test]
    fn any_mutation_is_taken_or_drawn(
        at in any::<prop::sample::Index>(),
        len in 20usize..3000,
        edits in prop::collection::vec((any::<prop::sample::Index>(), edit()), 0..6),
    ) {
        static SEED: std::sync::OnceLock<Vec<char>> = std::sync::OnceLock::new();
        let seed = SEED.get_or_init(|| seed().chars().collect());
        let from = at.index(seed.len());
        let mut text: Vec<char> = seed.iter().skip(from).take(len).copied().collect();
        for (at, edit) in edits {
            if text.is_empty() { break; }
            let at = at.index(text.len());
            match edit {
                Edit::Cut(n) => { text.drain(at..(at + n).min(text.len())); }
                Edit::Put(put) => { text.splice(at..at, put.chars()); }
            }
        }
        draw(&text.iter().collect::<String>());
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Cut(usize),
    Put(String),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (1usize..12).prop_map(Edit::Cut),
        "[-=\\[\\]{}\"'.,#/ \\n0-9a-z]{1,6}".prop_map(Edit::Put),
        "\\PC{1,3}".prop_map(Edit::Put),
    ]
}

fn draw(text: &str) {
    match check(text, "any.toml") {
        Ok(loaded) => {
            loaded.render(&loaded.warnings, true);
            let links = loaded.check_links(&[]);
            loaded.render(&links, false);
        }
        Err(faults) => {
            let drawn = faults.render(false);
            assert!(!faults.list().is_empty());
            for fault in faults.list() {
                assert!(fault.line > 0 || fault.key.is_empty(), "{fault:?}");
                assert!(fault.line <= text.split('\n').count(), "{fault:?}");
            }
            assert!(!drawn.is_empty());
        }
    }
}
