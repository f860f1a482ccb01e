//! Relays within relays: the bytes say how often the rest is wrapped, and by whom.

use std::net::Ipv6Addr;

use foreshadow::wire::{Relayed6, WireError6, v6_build::relay_forward, v6_relay::HOPS_MAX};

/// Plays one input.
pub fn run(data: &[u8]) {
    let Some((times, rest)) = data.split_first() else { return };
    let times = usize::from(times % 16);
    let (options, message) = rest.split_at(rest.len().min(times * 2));
    let mut wrapped = message.to_vec();
    for pair in options.chunks_exact(2) {
        let addr = Ipv6Addr::from_bits(u128::from(pair[0]) << 64);
        // Both bytes choose the option and what is in it: an echo request now and then.
        let option = (u16::from(pair[0] % 136), pair);
        let options = if option.0 == 9 { &[][..] } else { &[option][..] };
        wrapped = relay_forward(pair[1], addr, addr, options, &wrapped);
    }
    super::v6_support::read_datagram(&wrapped);
    let hops = options.len() / 2;
    match Relayed6::parse(&wrapped) {
        Ok(relayed) => assert!(hops <= relayed.hops().len() && relayed.hops().len() <= HOPS_MAX),
        Err(error) => assert!(hops <= HOPS_MAX || error == WireError6::TooManyHops),
    }
}
