//! Numbers that nobody outside can foretell, drawn from the secret of the store: the same secret
//! and the same draws give the same numbers.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::lease::Seq;

/// The secret, and how often it was drawn from.
#[derive(Debug, Default)]
pub struct Lots {
    secret: [u8; 16],
    drawn: u128,
}

impl Lots {
    /// Draws from `secret`, after batch `seq`: what was drawn and kept before that is not drawn
    /// again.
    pub fn new(secret: [u8; 16], seq: Seq) -> Lots {
        Lots { secret, drawn: u128::from(seq.0) << 64 }
    }

    /// The next number of `first..=last`.
    pub fn draw(&mut self, first: u128, last: u128) -> u128 {
        self.drawn += 1;
        let drawn = self.drawn.to_be_bytes();
        self.of(&[&drawn], first, last)
    }

    /// The number of `first..=last` that belongs to `parts`, every time.
    pub fn of(&self, parts: &[&[u8]], first: u128, last: u128) -> u128 {
        let hash = self.hash(parts);
        let count = last.saturating_sub(first).checked_add(1);
        first.saturating_add(count.map_or(hash, |count| hash % count))
    }

    /// A keyed hash of 128 bits.
    fn hash(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        for part in parts {
            hasher.write(&(part.len() as u64).to_be_bytes());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_bounds_and_differ() {
        let mut lots = Lots::new([7; 16], Seq(0));
        let drawn: Vec<u128> = (0..100).map(|_| lots.draw(10, 19)).collect();
        assert!(drawn.iter().all(|n| (10..=19).contains(n)));
        assert!((10..=19).all(|n| drawn.contains(&n)));
        assert_ne!(lots.draw(0, u128::MAX), lots.draw(0, u128::MAX));
        assert_eq!(lots.draw(5, 5), 5);
    }

    #[test]
    fn numbers_of_before_a_restart_are_not_drawn_again() {
        let drawn = |seq| {
            let mut lots = Lots::new([7; 16], Seq(seq));
            (0..100).map(|_| lots.draw(0, u128::MAX)).collect::<Vec<_>>()
        };
        assert!(drawn(1).iter().all(|number| !drawn(0).contains(number)));
    }

    #[test]
    fn what_belongs_to_a_client_depends_on_the_secret() {
        let of = |secret| Lots::new([secret; 16], Seq(0)).of(&[b"client"], 0, u128::MAX);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
