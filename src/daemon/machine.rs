//! What the driver needs of an engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::engine::effects::Effects;
use crate::engine::{Engine, Input};
use crate::lease::{Lease, Seq};

/// Decides; the driver acts. [`Engine`] is the one there is; tests of the loop have their own.
pub trait Machine: Send + 'static {
    /// Takes one input; everything to be done about it is added to `fx`.
    fn handle(&mut self, now: Timestamp, input: Input<'_>, fx: &mut Effects);
    /// Closes the batch; its number if it has changes.
    fn end_batch(&mut self) -> Option<Seq>;
    /// When [`Input::Tick`] is due next.
    fn next_wakeup(&self) -> Option<Timestamp>;
    /// Another policy from the next packet on.
    fn set_policy(&mut self, policy: Arc<Policy>);
    /// All bindings, those of batches on their way to the store included.
    fn leases(&self) -> Vec<Lease>;
    /// The facts that it keeps in the store beside bindings, by name; none by default.
    fn facts(&self) -> BTreeMap<Box<str>, Box<[u8]>> {
        BTreeMap::new()
    }
    /// Notes a fact about the server itself.
    fn note(&mut self, name: &str, value: &[u8], fx: &mut Effects);
}

impl Machine for Engine {
    fn handle(&mut self, now: Timestamp, input: Input<'_>, fx: &mut Effects) {
        Engine::handle(self, now, input, fx);
    }

    fn end_batch(&mut self) -> Option<Seq> {
        Engine::end_batch(self)
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        Engine::next_wakeup(self)
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        Engine::set_policy(self, policy);
    }

    fn leases(&self) -> Vec<Lease> {
        Engine::leases(self).iter().cloned().collect()
    }

    fn facts(&self) -> BTreeMap<Box<str>, Box<[u8]>> {
        Engine::facts(self).collect()
    }

    fn note(&mut self, name: &str, value: &[u8], fx: &mut Effects) {
        Engine::note(self, name, value, fx);
    }
}
