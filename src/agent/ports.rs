//! Guarded ports: what a server has told of each of them, and what that is in the gate.
//!
//! They are kept in a journal of their own beside the holds: a change is a line, so that it costs as
//! much as it says, however many ports there are. A journal that has grown to several times what it
//! says is written anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::Mac;
use crate::net::gate::{BadPort, Port, Rules};

/// Most ports of all networks.
pub const PORTS_MAX: usize = 65_536;
/// Most networks.
pub const NETWORKS_MAX: usize = 4_096;
/// Most hardware addresses of a port, and most addresses.
pub const EACH_MAX: usize = 256;
/// Most addresses of servers and routers of a network.
pub const SERVERS_MAX: usize = 64;
/// Lines of a journal beyond twice its ports before it is written anew.
const SPARE_LINES: usize = 1_024;

/// What becomes of some ports of a network. What it does not name stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The network; 1 to 128 bytes.
    pub network: Box<str>,
    /// Rises with each time that a server begins anew: an older one was overtaken.
    pub generation: u64,
    /// Addresses of DHCP servers and routers: nobody guarded speaks for them.
    pub servers: Vec<IpAddr>,
    /// Messages to DHCP servers that each guarded port may send in a second; the lowest of all
    /// networks counts.
    pub dhcp_per_s: Option<u32>,
    /// The ports, each with all that it may say.
    pub ports: Vec<Guarded>,
    /// Ports that are guarded no more.
    #[serde(default)]
    pub freed: Vec<Box<str>>,
    /// All ports have been told with this generation: the others of the network are freed.
    #[serde(default)]
    pub complete: bool,
}

/// What a port may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guarded {
    /// Its name.
    pub port: Box<str>,
    /// Hardware addresses that it sends from; any if there are none yet.
    #[serde(with = "macs")]
    pub macs: Vec<Mac>,
    /// Addresses that it sends from.
    pub addresses: Vec<IpAddr>,
    /// It sends from any IPv6 address.
    #[serde(default)]
    pub any6: bool,
    /// Nothing comes from it at all.
    #[serde(default)]
    pub fenced: bool,
}

/// What is wrong with an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrder {
    /// A name.
    #[error(transparent)]
    Port(#[from] BadPort),
    /// The network's name.
    #[error("network: a name of {0} bytes, want 1 to 128")]
    Network(usize),
    /// A number that is too high.
    #[error("{what}: {got}, want {want} at most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there may be.
        want: usize,
    },
    /// A limit that would let no client through.
    #[error("dhcp_per_s: 0, want 1 at least")]
    NoDhcp,
    /// The port is another network's.
    #[error("port {port} is guarded for network {network}")]
    Taken {
        /// The port.
        port: Box<str>,
        /// Whose it is.
        network: Box<str>,
    },
}

/// A port, and the generation that told of it last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    network: Box<str>,
    generation: u64,
    what: Guarded,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Network {
    generation: u64,
    servers: Vec<IpAddr>,
    dhcp_per_s: Option<u32>,
}

/// All guarded ports of a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ports {
    networks: BTreeMap<Box<str>, Network>,
    ports: BTreeMap<Box<str>, Told>,
    /// How many networks name each server.
    servers: BTreeMap<IpAddr, u32>,
}

/// A difference of rules: what goes, and what comes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What goes.
    pub gone: Rules,
    /// What comes.
    pub new: Rules,
}

impl Order {
    /// Whether it can be brought about at all.
    pub fn check(&self) -> Result<(), BadOrder> {
        let few = |what, got, want| {
            if got <= want { Ok(()) } else { Err(BadOrder::TooMany { what, got, want }) }
        };
        if !(1..=128).contains(&self.network.len()) {
            return Err(BadOrder::Network(self.network.len()));
        }
        few("servers", self.servers.len(), SERVERS_MAX)?;
        if self.dhcp_per_s == Some(0) {
            return Err(BadOrder::NoDhcp);
        }
        for port in &self.ports {
            Port::new(&port.port)?;
            few("hardware addresses of a port", port.macs.len(), EACH_MAX)?;
            few("addresses of a port", port.addresses.len(), EACH_MAX)?;
        }
        Ok(())
    }
}

impl Ports {
    /// Whether a generation of a network was overtaken: by which.
    pub fn overtaken(&self, network: &str, generation: u64) -> Option<u64> {
        let known = self.networks.get(network)?.generation;
        (known > generation).then_some(known)
    }

    /// Whether an order leaves the bounds, or names what is another network's.
    pub fn check(&self, order: &Order) -> Result<(), BadOrder> {
        order.check()?;
        let few = |what, got, want| {
            if got <= want { Ok(()) } else { Err(BadOrder::TooMany { what, got, want }) }
        };
        let is_new = !self.networks.contains_key(&order.network);
        few("networks", self.networks.len() + usize::from(is_new), NETWORKS_MAX)?;
        let new = order.ports.iter().filter(|of| !self.ports.contains_key(&of.port)).count();
        few("ports", self.ports.len() + new, PORTS_MAX)?;
        for of in &order.ports {
            let other = self.ports.get(&of.port).filter(|told| told.network != order.network);
            if let Some(told) = other {
                let (port, network) = (of.port.clone(), told.network.clone());
                return Err(BadOrder::Taken { port, network });
            }
        }
        Ok(())
    }

    /// Takes an order in, and what that changes. Only one that is complete looks at other ports than
    /// it names.
    pub fn take(&mut self, order: &Order) -> Change {
        let mut change = Change::default();
        let network = self.networks.entry(order.network.clone()).or_default();
        network.generation = order.generation;
        network.dhcp_per_s = order.dhcp_per_s;
        let before = std::mem::replace(&mut network.servers, order.servers.clone());
        if before != order.servers {
            self.count_servers(&before, &order.servers, &mut change);
        }
        for port in &order.freed {
            self.free(&order.network, port, &mut change);
        }
        for what in &order.ports {
            let (network, generation) = (order.network.clone(), order.generation);
            let told = Told { network, generation, what: what.clone() };
            if let Some(before) = self.ports.insert(what.port.clone(), told) {
                if before.what == *what {
                    continue;
                }
                add(&mut change.gone, &before.what);
            }
            add(&mut change.new, what);
        }
        if order.complete {
            let is_old =
                |told: &Told| told.network == order.network && told.generation < order.generation;
            let old = self.ports.iter().filter(|(_, told)| is_old(told));
            let old: Vec<Box<str>> = old.map(|(port, _)| port.clone()).collect();
            old.iter().for_each(|port| self.free(&order.network, port, &mut change));
            let is_idle = order.servers.is_empty() && order.dhcp_per_s.is_none();
            if is_idle && !self.ports.values().any(|told| told.network == order.network) {
                self.networks.remove(&order.network);
            }
        }
        change
    }

    fn free(&mut self, network: &str, port: &str, change: &mut Change) {
        if self.ports.get(port).is_some_and(|told| *told.network == *network)
            && let Some(told) = self.ports.remove(port)
        {
            add(&mut change.gone, &told.what);
        }
    }

    fn count_servers(&mut self, before: &[IpAddr], now: &[IpAddr], change: &mut Change) {
        for addr in before {
            let count = self.servers.entry(*addr).or_default();
            *count = count.saturating_sub(1);
        }
        for addr in now {
            *self.servers.entry(*addr).or_default() += 1;
        }
        for addr in before.iter().chain(now) {
            match self.servers.get(addr) {
                Some(0) => {
                    change.gone.servers.insert(*addr);
                    self.servers.remove(addr);
                }
                Some(_) => drop(change.new.servers.insert(*addr)),
                None => {}
            }
        }
    }

    /// All of it, as rules.
    pub fn rules(&self) -> Rules {
        let mut rules = Rules { dhcp_per_s: self.dhcp_per_s(), ..Rules::default() };
        self.ports.values().for_each(|told| add(&mut rules, &told.what));
        rules.servers.extend(self.servers.keys());
        rules
    }

    /// The same, and what pairs ask for: the two have no element in common.
    pub fn rules_beside(&self, pairs: Rules) -> Rules {
        let Rules { guests, silent, leaving, .. } = pairs;
        Rules { guests, silent, leaving, ..self.rules() }
    }

    /// The limit of all guarded ports: the lowest that a network has.
    pub fn dhcp_per_s(&self) -> Option<u32> {
        self.networks.values().filter_map(|network| network.dhcp_per_s).min()
    }

    /// Each port behind this one with its network, by name.
    pub fn after(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Guarded)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.ports.range::<str, _>((from, Bound::Unbounded));
        behind.map(|(_, told)| told).map(|told| (&*told.network, &told.what))
    }

    /// Orders that bring about the same, one for each port or network.
    fn orders(&self) -> impl Iterator<Item = Order> {
        let order = |name: &str, network: &Network, generation, ports| Order {
            network: name.into(),
            generation,
            servers: network.servers.clone(),
            dhcp_per_s: network.dhcp_per_s,
            ports,
            freed: vec![],
            complete: false,
        };
        let ports = self.ports.values().filter_map(move |told| {
            let network = self.networks.get(&told.network)?;
            Some(order(&told.network, network, told.generation, vec![told.what.clone()]))
        });
        let networks = self.networks.iter();
        // Last: a port may have been told by an older generation than its network's.
        ports.chain(networks.map(move |(name, of)| order(name, of, of.generation, vec![])))
    }
}

fn add(rules: &mut Rules, of: &Guarded) {
    let Ok(port) = Port::new(&of.port) else { return };
    rules.guarded.insert(port, of.macs.iter().copied().collect());
    rules.sources.extend(of.addresses.iter().map(|addr| (port, *addr)));
    if of.any6 {
        rules.any6.insert(port);
    }
    if of.fenced {
        rules.fenced.insert(port);
    }
}

/// Where orders are kept.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Option<fs::File>,
    lines: usize,
}

impl Journal {
    /// The one in this directory, and what it says. A last line that was not written to its end is
    /// left away: nobody was told that it is done.
    pub fn open(dir: &Path) -> io::Result<(Journal, Ports)> {
        let mut journal = Journal { path: dir.join("ports.jsonl"), file: None, lines: 0 };
        let mut ports = Ports::default();
        match fs::File::open(&journal.path) {
            Ok(file) => journal.replay(file, &mut ports)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        journal.write_anew(&ports)?;
        Ok((journal, ports))
    }

    fn replay(&self, file: fs::File, ports: &mut Ports) -> io::Result<()> {
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.last() != Some(&b'\n') {
                tracing::warn!(path = %self.path.display(), "the last line has no end: left away");
                return Ok(());
            }
            ports.take(&serde_json::from_slice(&line)?);
            line.clear();
        }
        Ok(())
    }

    /// Adds an order that has been taken.
    pub fn add(&mut self, order: &Order, ports: &Ports) -> io::Result<()> {
        if self.lines > 2 * ports.ports.len() + SPARE_LINES {
            return self.write_anew(ports);
        }
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let Some(file) = &mut self.file else { return self.write_anew(ports) };
        let written = file.write_all(&line);
        if written.is_err() {
            // What stands there may be half a line: nothing is added behind it.
            self.file = None;
        }
        self.lines += 1;
        written
    }

    /// Writes what is known in the place of how it came about.
    pub fn write_anew(&mut self, ports: &Ports) -> io::Result<()> {
        self.file = None;
        let new = self.path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let (mut bytes, mut lines) = (Vec::new(), 0);
        for order in ports.orders() {
            serde_json::to_writer(&mut bytes, &order)?;
            bytes.push(b'\n');
            lines += 1;
        }
        file.write_all(&bytes)?;
        fs::rename(&new, &self.path)?;
        (self.file, self.lines) = (Some(file), lines);
        Ok(())
    }
}

/// Hardware addresses as people write them.
mod macs {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::Mac;

    pub(super) fn serialize<S: Serializer>(macs: &[Mac], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(macs.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Mac>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let read = |text: &String| {
            let want = || format!("`{text}` is no hardware address, want aa:bb:cc:dd:ee:ff");
            text.parse().map_err(|()| serde::de::Error::custom(want()))
        };
        texts.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(n: u8) -> Guarded {
        let macs = vec![Mac([2, 0, 0, 0, 0, n])];
        let addresses = vec![IpAddr::from([10, 0, 0, n])];
        Guarded { port: format!("tap{n}").into(), macs, addresses, any6: true, fenced: false }
    }

    fn order(generation: u64, ports: &[u8]) -> Order {
        Order {
            network: "lan".into(),
            generation,
            servers: vec![IpAddr::from([10, 0, 0, 254])],
            dhcp_per_s: Some(20),
            ports: ports.iter().map(|n| guarded(*n)).collect(),
            freed: vec![],
            complete: false,
        }
    }

    #[test]
    fn a_change_says_what_differs() {
        let mut ports = Ports::default();
        ports.take(&order(1, &[1, 2]));
        assert_eq!(ports.take(&order(1, &[1, 2])), Change::default());
        let moved = Guarded { addresses: vec![IpAddr::from([10, 0, 0, 9])], ..guarded(2) };
        let change = ports.take(&Order { ports: vec![moved], ..order(1, &[]) });
        let tap2 = Port::new("tap2").unwrap();
        assert_eq!(change.gone.sources, [(tap2, IpAddr::from([10, 0, 0, 2]))].into());
        assert_eq!(change.new.sources, [(tap2, IpAddr::from([10, 0, 0, 9]))].into());
        let change = ports.take(&Order { freed: vec!["tap1".into()], ..order(1, &[]) });
        assert_eq!(change.gone.guarded.len(), 1);
        assert_eq!(ports.rules().guarded.len(), 1);
    }

    #[test]
    fn a_complete_generation_frees_what_it_did_not_name() {
        let mut ports = Ports::default();
        ports.take(&order(1, &[1, 2, 3]));
        assert_eq!(ports.overtaken("lan", 0), Some(1));
        assert_eq!(ports.overtaken("lan", 1), None);
        // Until it is complete nothing is lost.
        assert_eq!(ports.take(&order(2, &[1])), Change::default());
        let change = ports.take(&Order { complete: true, ..order(2, &[2]) });
        assert_eq!(
            change.gone.guarded.keys().copied().collect::<Vec<_>>(),
            [Port::new("tap3").unwrap()]
        );
        let end = Order { servers: vec![], dhcp_per_s: None, complete: true, ..order(3, &[]) };
        let change = ports.take(&end);
        assert_eq!((change.gone.guarded.len(), change.gone.servers.len()), (2, 1));
        assert_eq!(ports, Ports::default());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut ports = Ports::default();
        ports.take(&order(1, &[1]));
        let other = Order { network: "wan".into(), ..order(1, &[1]) };
        let said = ports.check(&other).unwrap_err().to_string();
        assert_eq!(said, "port tap1 is guarded for network lan");
        let none = Order { dhcp_per_s: Some(0), ..order(1, &[]) };
        assert_eq!(ports.check(&none), Err(BadOrder::NoDhcp));
        let many = Order { servers: vec![IpAddr::from([0; 4]); 65], ..order(1, &[]) };
        assert_eq!(ports.check(&many).unwrap_err().to_string(), "servers: 65, want 64 at most");
    }

    #[test]
    fn the_journal_says_what_was_taken() {
        let dir = std::env::temp_dir().join(format!("foreshadow-ports-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (mut journal, mut ports) = Journal::open(&dir).unwrap();
        for n in 0..3_000u64 {
            let order = order(n / 1_000, &[u8::try_from(n % 7).unwrap()]);
            ports.take(&order);
            journal.add(&order, &ports).unwrap();
        }
        assert!(journal.lines < 2 * SPARE_LINES, "{} lines", journal.lines);
        let mut file = fs::OpenOptions::new().append(true).open(&journal.path).unwrap();
        file.write_all(b"{\"network\":").unwrap();
        let (journal, read) = Journal::open(&dir).unwrap();
        assert_eq!(read, ports);
        assert_eq!(journal.lines, 8);
        fs::remove_dir_all(dir).unwrap();
    }
}
