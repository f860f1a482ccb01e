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

    pub(super) fn draw_standby_id(&mut self) -> Arc<str> {
        loop {
            let id = format!("s-{:016x}", self.lots.draw(0, u128::from(u64::MAX)));
            if self.directory.standby(&id).is_none() {
                return id.into();
            }
        }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use crate::base::{ClientKey, Timestamp};
    use crate::lease::{Lease, Seq, State};

    use super::*;

    #[test]
    fn a_mac_that_somebody_has_is_not_drawn() {
        let text = "[[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
                    [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.0/24\"]\n";
        let policy = Arc::new(crate::config::check(text, "test.toml").unwrap().policy);
        let network = policy.networks[0].id;
        let engine = |leases| Engine::new(Arc::clone(&policy), leases, Seq(0));
        let mut first = engine(Vec::new());
        let drawn: Vec<Mac> = (0..DRAWS).map(|_| first.draw_mac(network).unwrap()).collect();
        let lease = |(last, mac): (u8, &Mac)| {
            let hw = HwAddr::ethernet(*mac);
            Lease {
                network,
                resource: Ipv4Addr::new(10, 0, 0, last).into(),
                client: ClientKey::hardware(&hw),
                hw,
                state: State::Leased,
                since: Timestamp(0),
                updated: Timestamp(0),
                until: Timestamp::NEVER,
                port: None,
                uses: Default::default(),
                details: Default::default(),
            }
        };
        // The same secret draws the same, and all of it is taken; what comes next is not.
        let mut second = engine((1..).zip(&drawn).map(lease).collect());
        assert_eq!(second.draw_mac(network), Err(Denied::NoMac("lan".into())));
        assert!(!drawn.contains(&second.draw_mac(network).unwrap()));
    }
}
