//! The closed set of things that the control plane may ask of the engine's thread.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::base::{NetworkId, Resource, Timestamp};
use crate::config::Policy;
use crate::engine::holder::Holder;
use crate::lease::directory::Standby;
use crate::lease::{Act, Lease};

use super::accounts::{AccountDeed, ApplicationDeed, UsageDeed};
use super::caller::Scope;
use super::drive::Drive;
use super::etag::Conditions;
use super::filter::Filter;
use super::gauges::Figures;
use super::instances::{self, InstanceDeed};
use super::quarantine::QuarantineDeed;
use super::record::Done;
use super::registry::{Ask, Registry};
use super::relocation::RelocationDeed;
use super::reservations::ReservationDeed;
use super::score::ScoreDeed;
use super::shadows::{AvailableDeed, PredictionDeed, ShadowDeed, TallyDeed};
use super::standbys::StandbyDeed;
use super::view::{LeaseView, LeasesView, PoolView, StatusView};

/// How many leases one [`Command::Leases`] may look at: a bound on how long it keeps the packets
/// waiting, some tens of microseconds. Longer pages are made of several.
pub const LEASES_PER_LOOK: usize = 100;
/// How many leases one [`Command::Import`] may carry.
pub const LEASES_PER_IMPORT: usize = 1000;
/// About how many machines one [`Command::OfOthers`] may ask.
pub const NAMES_AT_ONCE: usize = 1000;

/// Where an answer goes. Whoever asked may have gone away; then the answer is dropped.
pub type Reply<T> = oneshot::Sender<T>;

/// One request, with the way back.
#[derive(Debug)]
pub enum Command {
    /// Figures about everything.
    Status(Reply<StatusView>),
    /// Figures for metrics, of the networks from this one on.
    Figures(usize, Reply<Figures>),
    /// The bindings from a position on that pass a filter.
    Leases {
        /// Which.
        filter: Box<Filter>,
        /// Where to go on: 0, then [`Page::next`].
        from: u64,
        /// How many at most; never over [`LEASES_PER_LOOK`].
        most: usize,
        /// The answer.
        reply: Reply<Page>,
    },
    /// The bindings of one resource, on one network or on all.
    Lease {
        /// The network; all if `None`.
        network: Option<NetworkId>,
        /// Which.
        resource: Resource,
        /// What the caller may see.
        scope: Scope,
        /// The answer.
        reply: Reply<Page>,
    },
    /// End a binding or a quarantine.
    Release {
        /// The network; needed only where several have such an address.
        network: Option<NetworkId>,
        /// Which.
        resource: Resource,
        /// What the caller may change.
        scope: Scope,
        /// What it must still be.
        conditions: Conditions,
        /// Who asks, for the audit.
        who: Arc<str>,
        /// The binding as it was, once its end is durable.
        reply: Reply<Result<(Lease, Arc<Policy>), Refusal>>,
    },
    /// Take bindings over, [`LEASES_PER_IMPORT`] at most.
    Import {
        /// Checked against the policy.
        leases: Vec<Lease>,
        /// Who asks, for the audit.
        who: Arc<str>,
        /// For each of them whether it was taken, once those are durable.
        reply: Reply<Result<Vec<bool>, Refusal>>,
    },
    /// Figures of the pools of one network, or of all.
    Pools {
        /// The network; all if `None`.
        network: Option<NetworkId>,
        /// The answer.
        reply: Reply<Vec<PoolView>>,
    },
    /// Keep a fact of the control plane under a name, or forget it.
    Fact {
        /// Its name, as in `token/NAME`.
        name: Box<str>,
        /// What to keep; `None` to forget it.
        value: Option<Box<[u8]>>,
        /// The audit records of it.
        acts: Vec<Act>,
        /// Once that is durable.
        reply: Reply<Result<(), Refusal>>,
    },
    /// Keep audit records of what was done elsewhere than in the store.
    Audit(Vec<Act>, Reply<Result<(), Refusal>>),
    /// What concerns instances.
    Instances(Box<Ask<InstanceDeed>>),
    /// Which of these machines are registered for others than the caller's accounts:
    /// [`NAMES_AT_ONCE`] at most.
    OfOthers {
        /// By their ids.
        instances: HashSet<Arc<str>>,
        /// What the caller may see.
        scope: Scope,
        /// The answer.
        reply: Reply<HashSet<Arc<str>>>,
    },
    /// How much traffic machines have now, by their ids, as [`Uses::traffic_of`] tells it:
    /// [`NAMES_AT_ONCE`] at most. Nobody waits for an answer.
    ///
    /// [`Uses::traffic_of`]: crate::lease::Uses::traffic_of
    Traffic(Vec<(Arc<str>, u8)>),
    /// An address is put out of use, or back.
    Quarantine(Box<Ask<QuarantineDeed>>),
    /// What an address is worth.
    Scores(Box<Ask<ScoreDeed>>),
    /// Who would be moved.
    Relocations(Box<Ask<RelocationDeed>>),
    /// What is foreseen.
    Predictions(Box<Ask<PredictionDeed>>),
    /// What is held for it.
    Shadows(Box<Ask<ShadowDeed>>),
    /// What an instance would find.
    Available(Box<Ask<AvailableDeed>>),
    /// What came of shadows.
    Tallies(Box<Ask<TallyDeed>>),
    /// What concerns accounts.
    Accounts(Box<Ask<AccountDeed>>),
    /// What concerns applications.
    Applications(Box<Ask<ApplicationDeed>>),
    /// How much an account or an application has.
    Usage(Box<Ask<UsageDeed>>),
    /// What concerns reservations.
    Reservations(Box<Ask<ReservationDeed>>),
    /// What concerns standbys.
    Standbys(Box<Ask<StandbyDeed>>),
    /// What whoever drives gates says of a standby.
    Drive(Box<Drive>),
    /// All standbys, in no order: for whoever drives them, when it starts.
    Pairs(Reply<Vec<Arc<Standby>>>),
    /// The policy in force.
    Policy(Reply<Arc<Policy>>),
    /// Put a new policy in force.
    SetPolicy(Arc<Policy>, Reply<()>),
    /// Copy the store into a new directory.
    Backup(PathBuf, Reply<Result<(), Refusal>>),
}

/// Some bindings, and the policy that knows their networks' names.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the desk's order.
    pub leases: Vec<Lease>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<u64>,
    /// The policy in force.
    pub policy: Arc<Policy>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// Nobody knows the caller.
    #[error("{0}")]
    Unknown(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// It does not go together with what is there.
    #[error("{0}")]
    Conflict(String),
    /// Somebody has what is asked for: what, and who. Who that is does not show.
    #[error("{0} is somebody else's")]
    Taken(String, Holder),
    /// It is not any more what the caller thought it is.
    #[error("{0}")]
    Changed(String),
    /// The configuration file says so: of what.
    #[error("{0} stands in the configuration file, and is changed there")]
    Configured(String),
    /// A field does not go together with what there is: which, what was found and what is expected.
    #[error("{0}: {1}")]
    Field(String, String),
    /// The configuration has faults, drawn at their lines; the policy in force stays.
    #[error("{0}")]
    Faults(String),
    /// The caller asks too much at once; later it may do.
    #[error("{0}")]
    TooMany(String),
    /// It could not be made durable, and was taken back.
    #[error("{0}")]
    Store(String),
    /// The server is busy, or on its way out.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// As a caller of this scope may read it: who has what they asked for, if that is their own or
    /// nobody's.
    pub fn told_to(self, scope: &Scope) -> Refusal {
        match self {
            Refusal::Taken(what, Holder::Somebody { account, .. })
                if !scope.holds(account.as_deref()) =>
            {
                Refusal::Conflict(format!("{what} is somebody else's"))
            }
            Refusal::Taken(what, holder) => Refusal::Conflict(format!("{what} is {holder}")),
            other => other,
        }
    }
}

/// A way to the engine's thread.
pub trait Post: Send + Sync + 'static {
    /// Queues a command and wakes the thread; gives it back if the thread is gone or has too
    /// much to do.
    fn post(&self, command: Command) -> Result<(), Command>;
}

/// What there is of the configuration beside the policy. May block.
pub trait Reload: Send + Sync + 'static {
    /// The file.
    fn file(&self) -> &Path;
    /// The configuration in force, without its secrets.
    fn shown(&self) -> super::view::ConfigurationView;
    /// What is wrong with another.
    fn check(&self, text: &str) -> super::view::CheckView;
    /// Reads the configuration again and puts it in force: the number of networks and the
    /// warnings, or why the old policy stays.
    fn reload(&self) -> Result<super::view::ReloadView, Refusal>;
}

/// What answers commands, on the thread that owns the bindings.
pub trait Desk {
    /// The policy in force.
    fn policy(&self) -> Arc<Policy>;
    /// Figures about everything.
    fn status(&self) -> StatusView;
    /// Figures for metrics, of the networks from this one on.
    fn figures(&self, from: usize) -> Figures;
    /// The binding of a resource.
    fn lease(&self, network: NetworkId, resource: Resource) -> Option<&Lease>;
    /// Shows up to `most` bindings from position `from` on to `look`; returns where to go on.
    /// Positions are the desk's own; a binding that stays is seen once by whoever goes on to
    /// the end.
    fn scan(&self, from: u64, most: usize, look: &mut dyn FnMut(&Lease)) -> Option<u64>;
    /// Ends a binding or a quarantine; the binding as it was.
    fn release(&mut self, network: NetworkId, resource: Resource) -> Option<Lease>;
    /// Takes a binding over unless its resource is held by another client.
    fn import(&mut self, lease: Lease) -> bool;
    /// Figures of the pools of one network, or of all.
    fn pools(&self, network: Option<NetworkId>) -> Vec<PoolView>;
    /// Keeps a fact of the control plane, or forgets it.
    fn fact(&mut self, name: &str, value: Option<Box<[u8]>>);
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Keeps an audit record.
    fn audit(&mut self, act: Act);
    /// The engine, to change who is known by name; only a running server has one.
    fn registry(&mut self) -> Option<Registry<'_>> {
        None
    }
    /// Puts a policy in force.
    fn set_policy(&mut self, policy: Arc<Policy>);
    /// Has the store copied, and answers when that is done.
    fn backup(&mut self, to: PathBuf, reply: Reply<Result<(), Refusal>>);
}

/// An answer that waits for its changes to be durable.
#[must_use = "somebody waits for this answer"]
pub struct Pending(Box<dyn FnOnce(Result<(), Refusal>) + Send>);

impl Pending {
    pub(super) fn of(answer: impl FnOnce(Result<(), Refusal>) + Send + 'static) -> Option<Pending> {
        Pending::new(answer)
    }

    fn new(answer: impl FnOnce(Result<(), Refusal>) + Send + 'static) -> Option<Pending> {
        Some(Pending(Box::new(answer)))
    }

    /// The changes are durable, or there were none.
    pub fn durable(self) {
        (self.0)(Ok(()));
    }

    /// The changes were taken back.
    pub fn failed(self, why: impl std::fmt::Display) {
        (self.0)(Err(Refusal::Store(why.to_string())));
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

impl Command {
    /// Does what is asked. An answer that promises a change comes back as [`Pending`], to be
    /// settled when the batch with the change is.
    pub fn run(self, desk: &mut dyn Desk) -> Option<Pending> {
        match self {
            Command::Status(reply) => drop(reply.send(desk.status())),
            Command::Figures(from, reply) => drop(reply.send(desk.figures(from))),
            Command::Leases { filter, from, most, reply } => {
                drop(reply.send(page(desk, &filter, from, most)));
            }
            Command::Lease { network, resource, scope, reply } => {
                let leases = bindings(desk, network, resource, &scope);
                drop(reply.send(Page { leases, next: None, policy: desk.policy() }));
            }
            Command::Release { network, resource, scope, conditions, who, reply } => {
                let lease = one_binding(desk, network, resource, &scope, &conditions);
                return release(desk, lease, &who, reply);
            }
            Command::Import { leases, who, reply } => return import(desk, leases, &who, reply),
            Command::Pools { network, reply } => drop(reply.send(desk.pools(network))),
            Command::Fact { name, value, acts, reply } => {
                desk.fact(&name, value);
                acts.into_iter().for_each(|act| desk.audit(act));
                return Pending::new(move |done| drop(reply.send(done)));
            }
            Command::Audit(acts, reply) => {
                acts.into_iter().for_each(|act| desk.audit(act));
                return Pending::new(move |done| drop(reply.send(done)));
            }
            Command::Instances(ask) => return ask.run(desk),
            Command::OfOthers { instances, scope, reply } => {
                drop(reply.send(instances::of_others(desk, instances, &scope)));
            }
            Command::Traffic(levels) => {
                if let Some(Registry { engine, .. }) = desk.registry() {
                    levels.iter().for_each(|(id, level)| engine.note_traffic(id, *level));
                }
            }
            Command::Quarantine(ask) => return ask.run(desk),
            Command::Predictions(ask) => return ask.run(desk),
            Command::Shadows(ask) => return ask.run(desk),
            Command::Scores(ask) => return ask.run(desk),
            Command::Relocations(ask) => return ask.run(desk),
            Command::Available(ask) => return ask.run(desk),
            Command::Tallies(ask) => return ask.run(desk),
            Command::Accounts(ask) => return ask.run(desk),
            Command::Applications(ask) => return ask.run(desk),
            Command::Usage(ask) => return ask.run(desk),
            Command::Reservations(ask) => return ask.run(desk),
            Command::Standbys(ask) => return ask.run(desk),
            Command::Drive(drive) => return drive.run(desk),
            Command::Pairs(reply) => {
                let found =
                    desk.registry().map(|of| of.engine.directory().standbys().cloned().collect());
                drop(reply.send(found.unwrap_or_default()));
            }
            Command::Policy(reply) => drop(reply.send(desk.policy())),
            Command::SetPolicy(policy, reply) => {
                desk.set_policy(policy);
                let _ = reply.send(());
            }
            Command::Backup(to, reply) => desk.backup(to, reply),
        }
        None
    }
}

/// Looks at [`LEASES_PER_LOOK`] positions at most, and finds `most` leases.
fn page(desk: &dyn Desk, filter: &Filter, from: u64, most: usize) -> Page {
    let mut leases = Vec::new();
    let (mut next, mut left) = (Some(from), LEASES_PER_LOOK);
    while let (Some(from), true) = (next, left > 0 && leases.len() < most) {
        // No more than are wanted yet: what was looked at is on this page or on none.
        let look = left.min(most - leases.len());
        next = desk.scan(from, look, &mut |lease| {
            if filter.passes(lease) {
                leases.push(lease.clone());
            }
        });
        left -= look;
    }
    Page { leases, next, policy: desk.policy() }
}

/// The bindings of `resource`: on `network`, or on every network of the policy.
fn bindings(
    desk: &dyn Desk,
    network: Option<NetworkId>,
    resource: Resource,
    scope: &Scope,
) -> Vec<Lease> {
    let policy = desk.policy();
    let networks = policy.networks.iter().map(|n| n.id).filter(|_| network.is_none());
    let found = networks.chain(network).filter_map(|id| desk.lease(id, resource));
    found.filter(|lease| scope.holds(lease.details.account.as_deref())).cloned().collect()
}

/// The only binding of `resource`, if it is what the caller thinks.
fn one_binding(
    desk: &dyn Desk,
    network: Option<NetworkId>,
    resource: Resource,
    scope: &Scope,
    conditions: &Conditions,
) -> Result<Lease, Refusal> {
    let mut found = bindings(desk, network, resource, scope);
    if conditions.is_conditional() {
        let policy = desk.policy();
        let leases = found.iter().map(|lease| LeaseView::of(lease, &policy)).collect();
        conditions.allow_change(&LeasesView { leases, next: None })?;
    }
    match found.len() {
        1 => found.pop().ok_or_else(|| Refusal::NotFound(format!("no binding of {resource}"))),
        0 => Err(Refusal::NotFound(format!("no binding of {resource}"))),
        several => {
            Err(Refusal::Conflict(format!("{resource} is bound on {several} networks; name one")))
        }
    }
}

fn release(
    desk: &mut dyn Desk,
    found: Result<Lease, Refusal>,
    who: &str,
    reply: Reply<Result<(Lease, Arc<Policy>), Refusal>>,
) -> Option<Pending> {
    let policy = desk.policy();
    let released = found.and_then(|Lease { network, resource, .. }| {
        desk.release(network, resource)
            .ok_or_else(|| Refusal::NotFound(format!("no binding of {resource}")))
    });
    match released {
        Ok(lease) => {
            audit_release(desk, &lease, who);
            Pending::new(move |done| drop(reply.send(done.map(|()| (lease, policy)))))
        }
        Err(refusal) => {
            drop(reply.send(Err(refusal)));
            None
        }
    }
}

fn audit_release(desk: &mut dyn Desk, was: &Lease, who: &str) {
    let policy = desk.policy();
    let object = format!("leases/{}", was.resource);
    let done =
        Done { who, verb: "release", object: &object, account: was.details.account.as_deref() };
    let before = LeaseView::of(was, &policy);
    let after = desk.lease(was.network, was.resource).map(|lease| LeaseView::of(lease, &policy));
    done.acts(desk.now(), Some(&before), after.as_ref())
        .into_iter()
        .for_each(|act| desk.audit(act));
}

fn import(
    desk: &mut dyn Desk,
    leases: Vec<Lease>,
    who: &str,
    reply: Reply<Result<Vec<bool>, Refusal>>,
) -> Option<Pending> {
    if leases.len() > LEASES_PER_IMPORT {
        let why = format!("{} leases at once, at most {LEASES_PER_IMPORT}", leases.len());
        drop(reply.send(Err(Refusal::Invalid(why))));
        return None;
    }
    let taken: Vec<bool> = leases.into_iter().map(|lease| desk.import(lease)).collect();
    // Each that was taken has a record of its own, right before this one.
    let imported = taken.iter().filter(|taken| **taken).count();
    let after = serde_json::json!({ "imported": imported, "refused": taken.len() - imported });
    let done = Done { who, verb: "import", object: "leases", account: None };
    done.acts(desk.now(), None, Some(&after)).into_iter().for_each(|act| desk.audit(act));
    Pending::new(move |done| drop(reply.send(done.map(|()| taken))))
}
