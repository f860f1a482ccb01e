//! Names and MACs for those who name none.

use std::sync::Arc;

use crate::base::{HwAddr, Mac, NetworkId};
use crate::lease::directory::Identifier;

use super::Engine;
use super::instances::Denied;

/// How many MACs are drawn before one is free; there are 2^40.
pub(super) const DRAWS: usize = 16;

impl Engine {
    pub(super) fn draw_id(&mut self) -> Arc<str> {
        loop {
            let id = format!("i-{:016x}", self.lots.draw(0, u128::from(u64::MAX)));
            if self.directory.instance(&id).is_none() {
                return id.into();
            }
        }
    }

    /// A locally administered MAC that nobody has on the network, as far as is known.
    pub(super) fn draw_mac(&mut self, network: NetworkId) -> Result<Mac, Denied> {
        for _ in 0..DRAWS {
            let drawn = self.lots.draw(0, (1 << 40) - 1).to_be_bytes();
            let [.., a, b, c, d, e] = drawn;
            let mac = Mac([0x02, a, b, c, d, e]);
            let known = self.directory.find(network, Identifier::Mac(mac)).is_some()
                || self.reserved_for(network, Identifier::Mac(mac)).is_some()
                || self.table.of_hw(network, &HwAddr::ethernet(mac)).next().is_some()
                || self.links.values().any(|up| up.mac == mac);
            if !known {
                return Ok(mac);
            }
        }
        let name =
            self.policy.networks.iter().find(|n| n.id == network).map(|n| n.name.to_string());
        Err(Denied::NoMac(name.unwrap_or_default()))
    }

    pub(super) fn draw_host_id(&mut self) -> Arc<str> {
        loop {
            let id = format!("r-{:016x}", self.lots.draw(0, u128::from(u64::MAX)));
            if self.directory.host(&id).is_none() {
                return id.into();
            }
        }
    }
}
