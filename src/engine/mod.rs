//! The server's mind: given a moment and what happened, it says what to do. No IO, no clock.
//!
//! Reading order: [`effects`] (what goes in and out), [`select`] (which network and subnet),
//! [`identity`] (who asks), [`request`] (what is asked), [`v4`] (the answer to each request),
//! [`choose`] (which address), [`grant`] (how it becomes a binding), [`reply`] (options and
//! destination), and beside them [`verify`] (addresses proven free) and [`wait`] (decisions that
//! wait for an answer of the wire), and [`advertise`] (router advertisements). [`v6`] is the same
//! for DHCPv6, in the same order. The dialogues that it must hold are in `tests/scenario`, the
//! model that it is played against in `tests/model`.

pub mod accounts;
pub mod advertise;
pub mod choose;
pub mod classes;
pub mod context;
mod drawn;
pub mod effects;
pub mod giveback;
pub mod grant;
pub mod holder;
pub mod hosts;
pub mod identity;
mod import;
pub mod instances;
pub mod known;
pub mod leaving;
pub mod lifecycle;
pub mod lots;
pub mod network;
pub mod overhear;
pub mod pace;
pub mod quarantine;
pub mod quota;
mod refuse;
pub mod relocate;
pub mod remember;
pub mod reply;
pub mod request;
pub mod select;
pub mod settings;
pub mod shadows;
pub mod site;
pub mod standbys;
pub mod tally;
pub mod tiers;
pub mod v4;
pub mod v6;
pub mod verify;
pub mod wait;
mod wake;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{LinkId, NetworkId, Resource, Timestamp};
use crate::config::Policy;
use crate::lease::directory::{Directory, FactError};
use crate::lease::{Act, Cause, Change, Lease, LeaseTable, Offer, OfferTable, Seq, State};

use advertise::Advertisers;
pub use effects::{Arrival, Destination, Effects, Input, Reply};
use effects::{Event, EventKind, LinkUp};
use lots::Lots;
use network::Net;
use quota::Meters;
use shadows::{Former, Plans, Tallies};
use wait::WaitingRoom;

/// The lease engine. One thread owns it; see [`Engine::handle`].
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
    nets: Vec<Net>,
    links: BTreeMap<LinkId, LinkUp>,
    link_changes: u64,
    table: LeaseTable,
    offers: OfferTable,
    waiting: WaitingRoom,
    advertisers: Advertisers,
    directory: Directory,
    meters: Meters,
    plans: Plans,
    former: Former,
    tallies: Tallies,
    /// When tiers were let shrink last.
    resized: Timestamp,
    /// What was last said of each pool that is short, by its first address.
    short_said: BTreeMap<(NetworkId, Resource), relocate::Said>,
    /// Who can be asked to renew.
    wakes: wake::Wakes,
    /// The batch that is being gathered.
    seq: Seq,
    /// Whether this batch has changes.
    dirty: bool,
    store_ok: bool,
    clock_trusted: bool,
    observing: bool,
    /// This server's DUID (RFC 9915 s11).
    duid: Box<[u8]>,
    /// What random and stable addresses are drawn with.
    lots: Lots,
}

impl Engine {
    /// An engine with what the store held; `last` is the newest batch in it.
    pub fn new(policy: Arc<Policy>, leases: Vec<Lease>, last: Seq) -> Engine {
        let mut table = LeaseTable::default();
        leases.into_iter().for_each(|lease| table.load(lease));
        let mut engine = Engine {
            nets: Vec::new(),
            links: BTreeMap::new(),
            link_changes: 0,
            table,
            offers: OfferTable::default(),
            waiting: WaitingRoom::default(),
            advertisers: Advertisers::default(),
            directory: Directory::default(),
            meters: Meters::default(),
            plans: Plans::default(),
            former: Former::default(),
            tallies: Tallies::default(),
            resized: Timestamp(0),
            short_said: BTreeMap::new(),
            wakes: wake::Wakes::default(),
            seq: last.next(),
            dirty: false,
            store_ok: true,
            clock_trusted: true,
            observing: false,
            duid: Box::default(),
            lots: Lots::default(),
            policy,
        };
        engine.directory.declare(&engine.policy.accounts);
        engine.build_networks();
        engine
    }

    /// Takes what the store held of the directory out of `facts`; the others.
    pub fn load_facts(
        &mut self,
        mut facts: BTreeMap<Box<str>, Box<[u8]>>,
    ) -> Result<BTreeMap<Box<str>, Box<[u8]>>, FactError> {
        let mut refused = None;
        facts.retain(|name, value| match self.directory.load(name, value) {
            Ok(taken) => !taken,
            Err(error) => {
                refused = Some(error);
                true
            }
        });
        self.build_networks();
        refused.map_or(Ok(facts), Err)
    }

    /// What the store is to hold of the directory.
    pub fn facts(&self) -> impl Iterator<Item = (Box<str>, Box<[u8]>)> + '_ {
        self.directory.facts()
    }

    /// Who is known by name.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Takes one input; everything to be done about it is added to `fx`.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>, fx: &mut Effects) {
        match input {
            Input::Packet4(arrival, bytes) => self.packet4(now, arrival, bytes, &[], fx),
            Input::Packet6(arrival, bytes) => self.packet6(now, arrival, bytes, &[], fx),
            Input::Overheard6(arrival, bytes) => self.overhear6(now, &arrival, bytes, fx),
            Input::Neighbour(link, seen) => self.neighbour_heard(now, link, seen, fx),
            Input::Deaf(link) => self.deaf(link),
            Input::RouterSolicit(link, mac, src) => self.router_solicited(now, link, mac, src),
            Input::LinkUp(up) => self.link_up(up),
            Input::LinkDown(link) => self.link_down(link),
            Input::Committed(seq) => self.committed(seq),
            Input::CommitFailed(seq) => self.commit_failed(now, seq, fx),
            Input::StoreReady => {
                self.store_ok = true;
                self.restore_set_aside();
            }
            Input::ClockTrusted(trusted) => self.clock_trusted = trusted,
            Input::Tick => self.tick(now, fx),
            Input::Stopping => self.say_goodbye(fx),
        }
    }

    /// Closes the batch: everything since the last call becomes durable under this number, or
    /// is lost together. `None` if nothing changed.
    pub fn end_batch(&mut self) -> Option<Seq> {
        let closed = self.seq;
        std::mem::take(&mut self.dirty).then(|| {
            self.seq = closed.next();
            closed
        })
    }

    /// When [`Input::Tick`] is due next.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let expiry = self.table.next_deadline().filter(|_| self.may_expire());
        [
            expiry,
            self.offers.next_deadline(),
            self.waiting.next_deadline(),
            self.next_proof(),
            self.next_advert(),
            self.next_forgetting(),
            self.next_recut(),
            self.next_farewell(),
            self.next_plan(),
            self.next_reproof(),
            self.next_resize(),
            self.next_asking(),
            self.next_standby(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A new policy in force from the next packet on. Offers and bindings stay.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        let before = std::mem::replace(&mut self.policy, policy);
        self.forget_offers_by_other_names(&before);
        self.directory.declare(&self.policy.accounts);
        self.build_networks();
        self.follow_adverts();
    }

    /// An offer says that its client was found to be who it says; by another rule it may be a
    /// clone.
    fn forget_offers_by_other_names(&mut self, before: &Policy) {
        let identity = |policy: &Policy, id| {
            policy.networks.iter().find(|network| network.id == id).map(|n| n.identity)
        };
        let changed = |offer: &&Offer| {
            identity(before, offer.network) != identity(&self.policy, offer.network)
        };
        let doubtful: Vec<_> =
            self.offers.iter().filter(changed).map(|o| (o.network, o.resource)).collect();
        for (network, resource) in doubtful {
            self.offers.remove(network, resource);
        }
    }

    /// Who this server is to DHCPv6 clients, and the secret of this store.
    pub fn set_identity(&mut self, duid: &[u8], secret: [u8; 16]) {
        (self.duid, self.lots) = (duid.into(), Lots::new(secret, self.seq));
    }

    /// This server's DUID (RFC 9915 s11).
    pub fn duid(&self) -> &[u8] {
        &self.duid
    }

    /// Tells of every answer of other servers, those of this host included.
    pub fn observe(&mut self) {
        self.observing = true;
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// All bindings.
    pub fn leases(&self) -> &LeaseTable {
        &self.table
    }

    /// All offers.
    pub fn offers(&self) -> &OfferTable {
        &self.offers
    }

    /// The names of the interfaces that serve a network now.
    pub fn interfaces(&self, network: NetworkId) -> impl Iterator<Item = &str> {
        self.links.values().filter(move |up| up.network == network).map(|up| &*up.name)
    }

    /// The interfaces that serve networks now.
    pub fn links(&self) -> impl Iterator<Item = &LinkUp> {
        self.links.values()
    }

    /// How often one of [`Engine::links`] came, went or changed.
    pub fn link_changes(&self) -> u64 {
        self.link_changes
    }

    /// The running state of each network, in the order of the policy.
    pub fn networks(&self) -> &[Net] {
        &self.nets
    }

    /// An operator ends a binding or a quarantine; `None` if there is none.
    pub fn release(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) -> Option<Lease> {
        let lease = self.table.get(network, resource)?.clone();
        match lease.state {
            State::Leased => self.put(
                Lease { state: State::Released, until: now, updated: now, ..lease.clone() },
                Cause::Operator,
                fx,
            ),
            State::Quarantined(_) | State::Shadow => {
                self.forget(network, resource, Some(now), fx);
            }
            State::Expired | State::Released => {}
        }
        self.say(now, Some(network), EventKind::Released(Box::new(lease.clone())), fx);
        Some(lease)
    }

    fn tick(&mut self, now: Timestamp, fx: &mut Effects) {
        self.lapse_offers(now);
        self.resolve_waiting(now, fx);
        self.run_verifier(now, fx);
        self.run_farewells(now, fx);
        self.run_reproofs(now, fx);
        self.run_plans(now, fx);
        self.follow_tiers(now, fx);
        self.ask_again(now, fx);
        self.advertise(now, fx);
        if self.may_expire() {
            self.expire_standbys(now, fx);
            self.expire(now, fx);
        }
        self.forget_oldest(fx);
        self.recut_delegations();
    }

    /// Nothing expires while that could not be written, nor while the clock may be wrong.
    fn may_expire(&self) -> bool {
        self.store_ok && self.clock_trusted
    }

    fn lapse_offers(&mut self, now: Timestamp) {
        while let Some(offer) = self.offers.pop_lapsed(now) {
            self.settle(offer.network, offer.resource);
        }
    }

    fn expire(&mut self, now: Timestamp, fx: &mut Effects) {
        // A bound on one step: a million leases that end at once must not stall the packets.
        for _ in 0..EXPIRIES_PER_TICK {
            let Some(lease) = self.table.first_due(now).cloned() else { return };
            match lease.state {
                State::Quarantined(reason) => {
                    self.forget(lease.network, lease.resource, Some(lease.until), fx);
                    let at = self.net_index(lease.network);
                    if let Some(net) = at.and_then(|at| self.nets.get_mut(at)) {
                        net.time_is_over(lease.resource, reason);
                    }
                }
                State::Shadow => self.shadow_aged(now, lease, fx),
                _ => {
                    let expired = Lease { state: State::Expired, ..lease.clone() };
                    self.put(expired, Cause::Expired, fx);
                    let kind = EventKind::Expired(Box::new(lease.clone()));
                    self.say(now, Some(lease.network), kind, fx);
                }
            }
        }
    }

    fn committed(&mut self, seq: Seq) {
        let mut settled = Vec::new();
        self.table.committed(seq, |_, key| settled.push(key));
        settled.extend(self.directory.committed(seq));
        for (network, resource) in settled {
            self.settle(network, resource);
        }
    }

    fn commit_failed(&mut self, now: Timestamp, seq: Seq, fx: &mut Effects) {
        self.store_ok = false;
        // The open batch is lost as well: its changes build on the failed one's.
        let taken = self.table.take_back(seq);
        let kept = self.directory.take_back(seq);
        for lease in taken.lost {
            self.offer_again(now, lease);
        }
        self.rank_pools();
        for (network, resource) in taken.settled.into_iter().chain(kept) {
            self.settle(network, resource);
            self.watch_anew(network, resource);
            self.watch_again(network, resource);
        }
        self.wake_plans(now);
        self.dirty = false;
        fx.changes.clear();
        fx.send_after.clear();
    }

    /// A lease that could not be written is an offer again: its client will repeat its request.
    fn offer_again(&mut self, now: Timestamp, lost: Lease) {
        let Some(hold) = self.net_index(lost.network).and_then(|i| self.policy.networks.get(i))
        else {
            return;
        };
        let before = self.table.get(lost.network, lost.resource).map(|l| l.state);
        let held = before.is_some_and(|state| state.is_held() && state != State::Shadow);
        if held || self.offers.get(lost.network, lost.resource).is_some() {
            return;
        }
        let until = now + hold.offer_hold;
        let owner = lost.details.account.clone().map(|a| (a, lost.details.application.clone()));
        let priority = self.priority(owner.as_ref());
        let Lease { network, resource, client, hw, port, .. } = lost;
        let before =
            self.offers.insert(Offer { network, resource, client, hw, until, port, priority });
        self.promise(network, resource, true);
        if let Some(resource) = before {
            self.settle(network, resource);
        }
    }

    fn link_up(&mut self, up: LinkUp) {
        self.link_changes += 1;
        let network = up.network;
        let before = self.links.insert(up.link, up);
        self.wake_verifier(network);
        self.own_addresses_changed(before);
        self.follow_adverts();
    }

    fn link_down(&mut self, link: LinkId) {
        self.link_changes += 1;
        let before = self.links.remove(&link);
        self.own_addresses_changed(before);
        self.follow_adverts();
    }

    /// Writes a binding as part of the open batch, and why.
    fn put(&mut self, lease: Lease, cause: Cause, fx: &mut Effects) {
        self.dirty = true;
        let half_life = self.lifecycle(lease.network).half_life;
        if lease.state.is_remembered() {
            self.note_former(&lease);
        }
        self.table.put(self.seq, lease, cause, half_life, &mut fx.changes);
    }

    /// Forgets a binding as part of the open batch; `lifted` says when, if a quarantine ends.
    fn forget(
        &mut self,
        network: NetworkId,
        resource: Resource,
        lifted: Option<Timestamp>,
        fx: &mut Effects,
    ) {
        self.dirty = true;
        self.table.remove(self.seq, network, resource, lifted, &mut fx.changes);
    }

    /// Notes a fact about the server itself as part of the open batch.
    pub fn note(&mut self, name: &str, value: &[u8], fx: &mut Effects) {
        self.dirty = true;
        fx.changes.push(Change::Meta(name.into(), value.into()));
    }

    /// Forgets such a fact as part of the open batch.
    pub fn forget_note(&mut self, name: &str, fx: &mut Effects) {
        self.dirty = true;
        fx.changes.push(Change::Forget(name.into()));
    }

    /// Keeps an audit record of what somebody did, as part of the open batch.
    pub fn audit(&mut self, act: Act, fx: &mut Effects) {
        self.dirty = true;
        fx.changes.push(Change::Act(Box::new(act.bounded())));
    }

    fn say(&self, at: Timestamp, network: Option<NetworkId>, kind: EventKind, fx: &mut Effects) {
        fx.events.push(Event { at, network, kind });
    }

    fn net_index(&self, network: NetworkId) -> Option<usize> {
        self.nets.iter().position(|net| net.id == network)
    }
}

/// How many bindings one tick ends at most; the next tick is due at once.
const EXPIRIES_PER_TICK: usize = 1024;
