//! `[agents]` and `[[agents.host]]`: the agents of other hosts, and how the server and they know each
//! other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::api::address;
use super::fault::FaultKind;
use super::keys::key;
use super::node::{Node, Table};
use super::schema::{REQUIRED, Section};

const HOSTS_MAX: usize = 1000;
const NAME_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 4095;

pub(super) static AGENTS: Section = Section {
    path: "agents",
    header: "[agents]",
    about: "The agents of other hosts, by TLS: each believes the other by a certificate of `ca`. That of a host has its name as a DNS name; this server's has the common name that agents are told to obey.",
    settings: false,
    keys: &[
        key(
            "ca",
            "\"/path\"",
            "none",
            "Who signs the certificates of agents, in PEM; needed beside hosts.",
        ),
        key("certificate", "\"/path\"", "none", "This server's certificate for them, in PEM."),
        key(
            "key",
            "\"/path\"",
            "none",
            "Its private key. Others on this machine should not read it.",
        ),
        key("host", "tables", "none", "The hosts, one `[[agents.host]]` each."),
    ],
};

pub(super) static AGENT_HOST: Section = Section {
    path: "agents.host",
    header: "[[agents.host]]",
    about: "A host with an agent (`foreshadow agent run --listen`).",
    settings: false,
    keys: &[
        key(
            "name",
            "\"hv2\"",
            REQUIRED,
            "What standbys call it, and the DNS name in its certificate: letters, digits, `-`, `.`.",
        ),
        key(
            "address",
            "\"10.0.0.2:7644\"",
            REQUIRED,
            "Where its agent listens: an address with its port.",
        ),
    ],
};

/// `[agents]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentsPolicy {
    /// How they and the server know each other; there are no hosts without it.
    pub tls: Option<AgentsTls>,
    /// The hosts, in the order of the file.
    pub hosts: Vec<AgentHost>,
}

/// Files in PEM, which are read for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentsTls {
    /// Who signs the certificates of agents.
    pub ca: PathBuf,
    /// The server's, then those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[[agents.host]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentHost {
    /// What standbys call it.
    pub name: Arc<str>,
    /// Where its agent listens.
    pub address: SocketAddr,
}

/// `[agents]` of the document.
pub(super) fn agents(root: &Table<'_>) -> AgentsPolicy {
    let Some(table) = root.get("agents").and_then(|n| n.table(&AGENTS)) else {
        return AgentsPolicy::default();
    };
    let path = |key: &str| table.get(key).and_then(|n| n.path(PATH_BYTES_MAX));
    let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
    let tls = match (ca, certificate, key) {
        (Some(ca), Some(certificate), Some(key)) => Some(AgentsTls { ca, certificate, key }),
        _ => None,
    };
    let Some(node) = table.get("host") else { return AgentsPolicy { tls, hosts: Vec::new() } };
    if tls.is_none() {
        for name in ["ca", "certificate", "key"] {
            if table.get(name).is_none() {
                let fault =
                    node.fault(FaultKind::MissingKey, format!("`{name}` is missing in [agents]"));
                node.push(
                    fault.expected(format!("{name} = \"/etc/foreshadow/agents/{name}.pem\"")),
                );
            }
        }
    }
    let tables = node.tables(&AGENT_HOST);
    if tables.len() > HOSTS_MAX {
        let fault = node.fault(FaultKind::Limit, format!("{} of them", tables.len()));
        node.push(fault.expected(format!("at most {HOSTS_MAX}")));
    }
    let mut names = BTreeSet::new();
    let mut hosts = Vec::new();
    for table in tables.iter().take(HOSTS_MAX) {
        let named = table.require("name").and_then(|n| Some((name(&n)?, n)));
        let address = table.require("address").and_then(|n| address(&n));
        let (Some((name, node)), Some(address)) = (named, address) else { continue };
        match names.insert(name.clone()) {
            true => hosts.push(AgentHost { name, address }),
            false => {
                let message = format!("two are called \"{name}\"");
                node.push(node.fault(FaultKind::Duplicate, message));
            }
        }
    }
    AgentsPolicy { tls, hosts }
}

fn name(node: &Node<'_>) -> Option<Arc<str>> {
    let name = node.name()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let starts = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if starts && name.len() <= NAME_MAX && name.bytes().all(plain) {
        return Some(name);
    }
    node.bad("not a name of a host", "up to 64 letters, digits, - and .")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    const BASE: &str = "[[network]]\nname = \"a\"\ninterfaces = [\"br0\"]\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n";
    const TLS: &str = "[agents]\nca = \"/a\"\ncertificate = \"/b\"\nkey = \"/c\"\n";
    const HOST: &str = "[[agents.host]]\nname = \"hv2\"\naddress = \"10.0.0.2:7644\"\n";

    fn faults(text: &str) -> usize {
        check(&format!("{BASE}{text}"), "test.toml").err().map_or(0, |faults| faults.list().len())
    }

    #[test]
    fn hosts_are_read_with_what_makes_them_known() {
        let policy = check(&format!("{BASE}{TLS}{HOST}"), "test.toml").unwrap().policy.agents;
        assert_eq!(&*policy.hosts[0].name, "hv2");
        assert_eq!(policy.hosts[0].address, "10.0.0.2:7644".parse().unwrap());
        assert_eq!(policy.tls.as_ref().unwrap().key, PathBuf::from("/c"));
        assert_eq!(*check(BASE, "test.toml").unwrap().policy.agents, AgentsPolicy::default());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert_eq!(faults(HOST), 3, "nobody would know whom to believe");
        assert_eq!(faults(&format!("{TLS}{HOST}{HOST}")), 1);
        for bad in [
            "name = \"h v\"\naddress = \"10.0.0.2:1\"",
            "name = \"h\"\naddress = \"10.0.0.2\"",
            "name = \"h\"",
        ] {
            assert_eq!(faults(&format!("{TLS}[[agents.host]]\n{bad}\n")), 1, "{bad}");
        }
    }
}
