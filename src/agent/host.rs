//! One host's network, brought to what is held of it.

mod admit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{LinkId, Mac};
use crate::net::gate::{Gate, Port, Rules};
use crate::net::{FrameSocket, LinkMonitor, RecvBatch, neighbour};
use crate::switchover::Stage;

use super::check::{self, Check};
use super::guard::{Guard, Sign};
use super::hold::{self, Hold, Holder};
use super::keep::{File, Kept, Leftover};
use super::learn::{Neighbours, ears};
use super::ports::{Journal, Order, Ports};
use super::refusal::{HostError, Refusal};
use super::tell::{Teller, is_on_link};
use super::verb::{ActiveWord, Answer, Done, GUARDED_AT_ONCE, VERSION, Verb};

/// How long IP of the former holder passes at most, should nobody say when it is enough.
const LEAVING_MAX: Duration = Duration::from_secs(1);
/// How long a standby is listened for after its gate was opened.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often the kernel is asked whether the gate is as it was made.
const COMPARED_EVERY: Duration = Duration::from_secs(10);

/// The network of the host, as far as pairs are concerned. One thread owns it.
pub struct Host {
    gate: Gate,
    kept: Kept,
    file: Option<File>,
    ports: Ports,
    journal: Option<Journal>,
    links: LinkMonitor,
    teller: Teller,
    neighbours: BTreeMap<LinkId, Neighbours>,
    ears: BTreeMap<LinkId, [FrameSocket; 2]>,
    heard: RecvBatch,
    guard: Option<Guard>,
    /// Until when the former holders' IP passes, by pair.
    leaving: BTreeMap<Box<str>, Instant>,
    /// When gates were opened whose standbys were not heard yet, by pair.
    opened: BTreeMap<Box<str>, Instant>,
    compared: Instant,
}

impl Host {
    /// Brings the gate to what was kept in `dir`, which then has what is held; without one it is
    /// for this process alone.
    pub fn start(dir: Option<&Path>) -> Result<Host, HostError> {
        let file = dir.map(File::within).transpose()?;
        let kept = file.as_ref().map(File::read).transpose()?.unwrap_or_default();
        let journal = dir.map(Journal::open).transpose()?;
        let (journal, ports) = journal.map_or_else(Default::default, |(j, p)| (Some(j), p));
        let gate = Gate::install(ports.rules_beside(rules(&kept)))?;
        let now = Instant::now();
        let leaving = kept.holds.values().filter(|hold| hold.stage == Stage::Leaving);
        let leaving = leaving.map(|hold| (hold.pair.clone(), now + LEAVING_MAX)).collect();
        let mut host = Host {
            gate,
            kept,
            file,
            ports,
            journal,
            links: LinkMonitor::open()?,
            teller: Teller::default(),
            neighbours: BTreeMap::new(),
            ears: BTreeMap::new(),
            heard: RecvBatch::default(),
            guard: None,
            leaving,
            opened: BTreeMap::new(),
            compared: now,
        };
        host.links.poll(&mut Vec::new())?;
        host.tidy_leftovers()?;
        host.prick_up();
        Ok(host)
    }

    /// Takes the gate away, and forgets everything: no guest is silent any more.
    pub fn clear(mut self) -> Result<(), HostError> {
        if let Some(journal) = &mut self.journal {
            journal.write_anew(&Ports::default())?;
        }
        if let Some(file) = &self.file {
            let (holds, leftovers) = (BTreeMap::new(), Vec::new());
            file.write(&Kept { holds, leftovers, ..self.kept })?;
        }
        Ok(self.gate.remove()?)
    }

    /// Does what is asked.
    pub fn answer(&mut self, now: Instant, verb: Verb) -> Answer {
        let done = match verb {
            Verb::Hello => {
                let release = env!("CARGO_PKG_VERSION").into();
                return Answer::Hello { version: VERSION, release };
            }
            Verb::Status => self.status(),
            Verb::Guard(order) => self.guard_ports(now, &order).map(Answer::Done),
            Verb::Guarded { after } => Ok(self.guarded(after.as_deref())),
            Verb::Hold(hold) => self.hold(now, hold).map(Answer::Done),
            Verb::Check { pair } => self.look_at(&pair).map(Answer::Checks),
            Verb::Active { pair, word } => self.tell_of(&pair, word).map(Answer::Done),
            // Whoever owns this waits for events.
            Verb::Events { .. } => Ok(Answer::Events(Vec::new())),
            Verb::LetGo { pair, epoch, silent } => {
                self.let_go(&pair, epoch, silent).map(Answer::Done)
            }
        };
        done.unwrap_or_else(|refusal| {
            tracing::warn!(%refusal, "refused");
            Answer::Refused { why: refusal.why(), text: refusal.to_string().into() }
        })
    }

    /// Has actives watched, whose holds ask for it; what becomes of them is told to `sink`.
    pub fn watch(
        &mut self,
        sink: impl FnMut(&str, Sign) + Send + 'static,
    ) -> Result<(), HostError> {
        let guard = self.guard.insert(Guard::start(sink)?);
        guard.follow(&self.kept, &self.opened);
        Ok(())
    }

    /// What is held, by pair.
    pub fn holds(&self) -> &BTreeMap<Box<str>, Hold> {
        &self.kept.holds
    }

    /// When [`Host::tend`] is due.
    pub fn next_due(&self) -> Instant {
        let due = self.leaving.values().copied().min().into_iter().chain(self.teller.next_due());
        due.fold(self.compared + COMPARED_EVERY, Instant::min)
    }

    /// Whether announcements are to be repeated yet, or a former holder is leaving.
    pub fn is_busy(&self) -> bool {
        self.teller.next_due().is_some() || !self.leaving.is_empty()
    }

    /// Does what time or the wire asks for: repeats announcements, learns neighbours, ends what is
    /// leaving, makes the gate anew where somebody changed it.
    pub fn tend(&mut self, now: Instant) -> Result<(), HostError> {
        self.teller.say_again(now, &self.neighbours);
        let over: Vec<Box<str>> =
            self.leaving.iter().filter(|(_, at)| **at <= now).map(|(p, _)| p.clone()).collect();
        for pair in over {
            if let Some(hold) = self.kept.holds.get(&pair).cloned() {
                let promoted = Hold { stage: Stage::Promoted, ..hold };
                self.leaving.remove(&pair);
                self.bring_about(promoted)?;
            }
        }
        let mut events = Vec::new();
        self.links.poll(&mut events)?;
        if !events.is_empty() {
            self.tidy_leftovers()?;
            self.prick_up();
        }
        self.opened.retain(|_, at| *at + ANSWERS_WITHIN > now);
        self.follow();
        self.listen(now);
        if now >= self.compared + COMPARED_EVERY {
            self.compared = now;
            if !self.gate.is_in_force()? {
                tracing::error!("the gate was changed by somebody else: made anew");
                self.gate.install_anew()?;
            }
        }
        Ok(())
    }

    fn status(&mut self) -> Result<Answer, Refusal> {
        let in_force = self.gate.is_in_force().map_err(HostError::from)?;
        if !in_force {
            self.gate.install_anew().map_err(HostError::from)?;
        }
        Ok(Answer::Status { holds: self.kept.holds.values().cloned().collect(), in_force })
    }

    /// What can be said of a pair without a question to its guests.
    fn look_at(&mut self, pair: &str) -> Result<Vec<Check>, Refusal> {
        let hold = self.kept.holds.get(pair).ok_or_else(|| Refusal::NotHeld(pair.into()))?;
        self.links.poll(&mut Vec::new()).map_err(HostError::from)?;
        let mut found = check::ports(hold, &mut self.links);
        found.push(check::gate(self.gate.is_in_force().map_err(HostError::from)?));
        let bridge = self.links.links().find(|link| *link.name == *hold.bridge).map(|l| l.id);
        let known = bridge.and_then(|bridge| self.neighbours.get(&bridge));
        found.extend(check::neighbours(hold, known));
        let is_watched = self.guard.as_ref().is_some_and(|guard| guard.is_watched(pair));
        found.extend(check::watch(hold, is_watched));
        Ok(found)
    }

    fn tell_of(&mut self, pair: &str, word: ActiveWord) -> Result<Done, Refusal> {
        let guard = self.guard.as_ref().filter(|guard| guard.tell(pair, word));
        guard.ok_or_else(|| Refusal::NotWatched(pair.into()))?;
        if let ActiveWord::Migrating { for_ms } = word {
            self.lives(pair, for_ms == 0)?;
        }
        Ok(Done::default())
    }

    fn hold(&mut self, now: Instant, mut hold: Hold) -> Result<Done, Refusal> {
        if hold.bridge.is_empty() {
            hold.bridge = self.bridge_of(&hold)?;
        }
        self.check(&hold)?;
        self.listen(now);
        let moves = hold.speaker().is_some_and(|speaker| !speaker.elsewhere)
            && (hold.stage != Stage::Standby || self.spoke_otherwise(&hold));
        let ends = moves.then(|| self.ends(&hold)).transpose()?;
        match hold.stage {
            Stage::Leaving => self.leaving.insert(hold.pair.clone(), now + LEAVING_MAX),
            _ => self.leaving.remove(&hold.pair),
        };
        let opens = hold.stage.is_open() && self.spoke_otherwise(&hold);
        self.bring_about(hold.clone())?;
        let mut done = Done { gated_us: elapsed_us(now), ..Done::default() };
        if opens {
            self.opened.insert(hold.pair.clone(), Instant::now());
        }
        match (ends, hold.speaker()) {
            (Some((bridge, port)), Some(speaker)) => {
                done.told = self.announce(now, &hold, speaker, bridge, port)?;
                done.announced_us = elapsed_us(now);
            }
            (None, Some(speaker)) if hold.stage != Stage::Standby => {
                self.place(&hold.bridge, speaker)
            }
            _ => {}
        }
        if ends.is_none() {
            self.teller.hush(&hold.pair);
        }
        self.follow();
        // Last: to close a socket takes the kernel milliseconds.
        self.prick_up();
        tracing::info!(pair = %hold.pair, epoch = hold.epoch, stage = ?hold.stage, "held");
        Ok(done)
    }

    /// The file first: what is in the kernel and not in the file would be undone by a restart.
    fn bring_about(&mut self, hold: Hold) -> Result<(), HostError> {
        let mut kept = self.kept.clone();
        kept.note(&hold.pair, hold.epoch);
        // What a pair says of a port counts, and nothing that was left of another.
        let ports = [&hold.active.port, &hold.standby.port];
        kept.leftovers.retain(|left| {
            let same = left.addresses.iter().any(|addr| hold.addresses.contains(addr));
            !(same && ports.contains(&&left.port))
        });
        if hold.stage != Stage::Standby {
            kept.lived.remove(&hold.pair);
        }
        kept.holds.insert(hold.pair.clone(), hold);
        self.set(kept)
    }

    fn set(&mut self, kept: Kept) -> Result<(), HostError> {
        if let Some(file) = self.file.as_ref().filter(|_| kept != self.kept) {
            file.write(&kept)?;
        }
        // What pairs ask for, and what is guarded beside them, have no element in common.
        self.gate.alter(&rules(&self.kept), &rules(&kept))?;
        self.kept = kept;
        Ok(())
    }

    /// Whom a hold has to be watched is watched, and nobody else.
    fn follow(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.follow(&self.kept, &self.opened);
        }
    }

    /// The active of a pair is there; or it may go, and that is no failure.
    pub fn lives(&mut self, pair: &str, lives: bool) -> Result<(), HostError> {
        let is_active = |hold: &Hold| hold.stage == Stage::Standby;
        let lives = lives && self.kept.holds.get(pair).is_some_and(is_active);
        if self.kept.lived.contains(pair) == lives {
            return Ok(());
        }
        let mut kept = self.kept.clone();
        match lives {
            true => kept.lived.insert(pair.into()),
            false => kept.lived.remove(pair),
        };
        self.set(kept)
    }

    /// The standby of a pair was heard: it needs no more questions.
    pub fn answered(&mut self, pair: &str) {
        if self.opened.remove(pair).is_some() {
            self.follow();
        }
    }

    /// What the journal does not have is in force yet, and is refused: whoever asked tells it again.
    fn guard_ports(&mut self, now: Instant, order: &Order) -> Result<Done, Refusal> {
        let Order { network, generation, .. } = order;
        if let Some(by) = self.ports.overtaken(network, *generation) {
            return Err(Refusal::Generation {
                network: network.clone(),
                generation: *generation,
                by,
            });
        }
        self.ports.check(order)?;
        let change = self.ports.take(order);
        let written = self.journal.as_mut().map_or(Ok(()), |j| j.add(order, &self.ports));
        self.gate.limit(self.ports.dhcp_per_s()).map_err(HostError::from)?;
        self.gate.alter(&change.gone, &change.new).map_err(HostError::from)?;
        written.map_err(HostError::from)?;
        Ok(Done { gated_us: elapsed_us(now), ..Done::default() })
    }

    fn guarded(&self, after: Option<&str>) -> Answer {
        let some = self.ports.after(after).take(GUARDED_AT_ONCE);
        Answer::Guarded(some.map(|(network, of)| (network.into(), of.clone())).collect())
    }

    fn let_go(&mut self, pair: &str, epoch: u64, silent: bool) -> Result<Done, Refusal> {
        if let Some(by) = self.kept.overtaken(pair, epoch) {
            return Err(Refusal::Epoch { pair: pair.into(), epoch, by });
        }
        let mut kept = self.kept.clone();
        kept.note(pair, epoch);
        let hold = kept.holds.remove(pair).ok_or_else(|| Refusal::NotHeld(pair.into()))?;
        kept.lived.remove(pair);
        if silent {
            kept.leftovers.extend(hold.silent().filter_map(|of| self.leftover(of, &hold)));
        }
        let now = Instant::now();
        self.set(kept)?;
        self.leaving.remove(pair);
        self.opened.remove(pair);
        self.follow();
        self.teller.hush(pair);
        self.prick_up();
        Ok(Done { gated_us: elapsed_us(now), ..Done::default() })
    }

    /// A port that is not there has nobody to be silent.
    fn leftover(&self, of: &Holder, hold: &Hold) -> Option<Leftover> {
        let link = self.links.links().find(|link| *link.name == *of.port)?;
        let addresses = hold.addresses.clone();
        Some(Leftover { port: of.port.clone(), index: link.id.0, addresses })
    }

    /// Forgets ports that are gone, and what a pair says anew.
    fn tidy_leftovers(&mut self) -> Result<(), HostError> {
        let is_there = |left: &Leftover| {
            self.links.link(LinkId(left.index)).is_some_and(|link| *link.name == *left.port)
        };
        let mut kept = self.kept.clone();
        kept.leftovers.retain(is_there);
        if kept.leftovers.len() < self.kept.leftovers.len() { self.set(kept) } else { Ok(()) }
    }

    /// The forwarding database first, then what the segment is told: its answers go there.
    fn announce(
        &mut self,
        now: Instant,
        hold: &Hold,
        speaker: &Holder,
        bridge: (LinkId, Mac),
        port: LinkId,
    ) -> Result<u32, HostError> {
        neighbour::place(port, speaker.mac)?;
        if let Some(link) = self.links.link(bridge.0).cloned() {
            for addr in hold.addresses.iter().filter(|addr| is_on_link(&link, **addr)) {
                neighbour::replace(link.id, *addr, speaker.mac)?;
            }
        }
        let what = (hold.addresses.as_slice(), speaker.mac);
        let known = self.neighbours.get(&bridge.0);
        Ok(self.teller.tell(now, &hold.pair, bridge, what, known)?)
    }

    /// The holder is behind a port that leads elsewhere: bridges learn it sooner than by its frames.
    fn place(&mut self, bridge: &str, speaker: &Holder) {
        let id = |name: &str| self.links.links().find(|link| *link.name == *name).map(|l| l.id);
        let (bridge, port) = (id(bridge), id(&speaker.port));
        let port = match (speaker.port.is_empty(), bridge) {
            (true, Some(bridge)) => self.links.look_up(bridge, speaker.mac),
            _ => port,
        };
        if let Some(Err(error)) = port.map(|port| neighbour::place(port, speaker.mac)) {
            tracing::warn!(port = %speaker.port, %error, "forwarding entry not placed");
        }
    }

    /// Listens where the holders of shared addresses are spoken with: on their bridges and ports.
    fn prick_up(&mut self) {
        let id = |name: &str| self.links.links().find(|link| *link.name == *name).map(|l| l.id);
        let mut wanted = BTreeSet::new();
        let mut addresses: BTreeMap<LinkId, Vec<IpAddr>> = BTreeMap::new();
        for hold in self.kept.holds.values() {
            let Some(bridge) = id(&hold.bridge) else { continue };
            wanted.insert(bridge);
            addresses.entry(bridge).or_default().extend(&hold.addresses);
            wanted.extend(hold.speaker().filter(|s| !s.elsewhere).and_then(|s| id(&s.port)));
        }
        let bridges: Vec<LinkId> = addresses.keys().copied().collect();
        self.neighbours.retain(|bridge, _| addresses.contains_key(bridge));
        for (bridge, addresses) in addresses {
            self.neighbours.entry(bridge).or_default().keep(addresses.into_iter());
        }
        bridges.iter().for_each(|bridge| self.teller.warm_up(*bridge));
        self.ears.retain(|link, _| wanted.contains(link));
        for link in wanted {
            if let std::collections::btree_map::Entry::Vacant(vacant) = self.ears.entry(link) {
                match ears(link) {
                    Ok(ears) => drop(vacant.insert(ears)),
                    Err(error) => tracing::warn!(link = link.0, %error, "cannot be listened on"),
                }
            }
        }
    }

    fn listen(&mut self, now: Instant) {
        let Host { ears, heard, neighbours, links, .. } = self;
        ears.retain(|link, sockets| {
            let bridge = links.link(*link).map(|found| found.master.unwrap_or(found.id));
            let mut known = bridge.and_then(|bridge| neighbours.get_mut(&bridge));
            sockets.iter().all(|socket| {
                let Ok(count) = socket.recv(heard) else { return false };
                let frames = (0..count).filter_map(|i| FrameSocket::frame(heard, i));
                for frame in frames {
                    if let Some(known) = &mut known {
                        known.learn(now, frame.bytes);
                    }
                }
                true
            })
        });
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// What the gate is to be.
fn rules(kept: &Kept) -> Rules {
    let mut rules = hold::rules(kept.holds.values());
    for left in &kept.leftovers {
        if let Ok(port) = Port::new(&left.port) {
            rules.silent.extend(left.addresses.iter().map(|addr| (port, *addr)));
        }
    }
    rules
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
