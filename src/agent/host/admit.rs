//! Whether a hold can be brought about: its bridge, its ports, and what is held already.

use crate::agent::hold::Hold;
use crate::agent::keep::HOLDS_MAX;
use crate::agent::refusal::Refusal;
use crate::base::{LinkId, Mac};

use super::{Host, HostError};

impl Host {
    /// The bridge of the guest that is here.
    pub(super) fn bridge_of(&mut self, hold: &Hold) -> Result<Box<str>, Refusal> {
        self.links.poll(&mut Vec::new()).map_err(HostError::from)?;
        let both = [&hold.active, &hold.standby];
        let here = both.into_iter().find(|of| !of.elsewhere).unwrap_or(&hold.standby);
        let port = self.links.links().find(|link| *link.name == *here.port);
        let port = port.ok_or_else(|| Refusal::NoLink(here.port.clone()))?;
        let bridge = port.master.and_then(|master| self.links.link(master));
        let no_bridge = || Refusal::NoPort { port: here.port.clone(), bridge: "a bridge".into() };
        bridge.map(|bridge| bridge.name.as_ref().into()).ok_or_else(no_bridge)
    }

    pub(super) fn check(&self, hold: &Hold) -> Result<(), Refusal> {
        let pair = || hold.pair.clone();
        hold.check().map_err(|fault| Refusal::Faulty { pair: pair(), fault })?;
        if let Some(by) = self.kept.overtaken(&hold.pair, hold.epoch) {
            return Err(Refusal::Epoch { pair: pair(), epoch: hold.epoch, by });
        }
        let others = self.kept.holds.values().filter(|other| other.pair != hold.pair);
        for other in others.filter(|other| other.bridge == hold.bridge) {
            if let Some(addr) = hold.addresses.iter().find(|a| other.addresses.contains(a)) {
                let (other, bridge) = (other.pair.clone(), other.bridge.clone());
                return Err(Refusal::Taken { pair: pair(), other, addr: *addr, bridge });
            }
        }
        let is_new = !self.kept.holds.contains_key(&hold.pair);
        if is_new && self.kept.holds.len() >= HOLDS_MAX {
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    /// Whether somebody else than its speaker spoke for the addresses before.
    pub(super) fn spoke_otherwise(&self, hold: &Hold) -> bool {
        let before = self.kept.holds.get(&hold.pair).map(|before| before.speaker().map(|s| s.mac));
        before.is_some_and(|before| before != hold.speaker().map(|speaker| speaker.mac))
    }

    /// The bridge and the speaker's port of it, both of which have to be there.
    pub(super) fn ends(&mut self, hold: &Hold) -> Result<((LinkId, Mac), LinkId), Refusal> {
        self.links.poll(&mut Vec::new()).map_err(HostError::from)?;
        let named = |name: &str| {
            let found = self.links.links().find(|link| *link.name == *name);
            found.ok_or_else(|| Refusal::NoLink(name.into()))
        };
        let bridge = named(&hold.bridge)?;
        let port = named(&hold.speaker().unwrap_or(&hold.standby).port)?;
        if port.master != Some(bridge.id) {
            let (port, bridge) = (port.name.as_ref().into(), bridge.name.as_ref().into());
            return Err(Refusal::NoPort { port, bridge });
        }
        Ok(((bridge.id, bridge.mac), port.id))
    }
}
