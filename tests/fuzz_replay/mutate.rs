//! Inputs made of other inputs, the same for the same seed.

use crate::random::Random;

/// Values at the edges of what a field holds.
const EDGES: [u64; 9] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::MAX];
/// Most changes to one input.
const CHANGES_MAX: u64 = 8;

/// Makes inputs from a corpus.
pub(crate) struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static [u8]],
    len_max: usize,
}

impl Mutator {
    pub(crate) fn new(
        seed: u64,
        corpus: Vec<Vec<u8>>,
        words: &'static [&'static [u8]],
        len_max: usize,
    ) -> Mutator {
        Mutator { random: Random::new(seed), corpus, words, len_max }
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.one();
        for _ in 0..=self.random.below(CHANGES_MAX) {
            self.change(&mut bytes);
        }
        bytes.truncate(self.len_max);
        bytes
    }

    fn one(&mut self) -> Vec<u8> {
        let at = self.random.below(self.corpus.len() as u64) as usize;
        self.corpus[at].clone()
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.random.below(bytes.len() as u64 + 1) as usize;
        let rest = (bytes.len() - at) as u64;
        let some = self.random.below(rest.min(64) + 1) as usize;
        match self.random.below(10) {
            0 if rest > 0 => bytes[at] ^= 1 << self.random.below(8),
            1 if rest > 0 => bytes[at] = self.random.next() as u8,
            2 => self.number(bytes, at),
            3 => drop(bytes.drain(at..at + some)),
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..at + some].to_vec();
                let times = 1 << self.random.below(4);
                bytes.splice(at..at, piece.repeat(times));
            }
            6 => {
                let other = self.one();
                let from = self.random.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            7 if !self.words.is_empty() => {
                let word = self.random.pick(self.words);
                let over =
                    if self.random.chance(500) { word.len().min(bytes.len() - at) } else { 0 };
                bytes.splice(at..at + over, word.iter().copied());
            }
            8 => {
                let noise: Vec<u8> = (0..some).map(|_| self.random.next() as u8).collect();
                bytes.splice(at..at + some, noise);
            }
            _ => {
                let value = self.random.pick(&EDGES) as u8;
                bytes.splice(at..at, std::iter::repeat_n(value, some));
            }
        }
    }

    /// A number of one, two or four bytes at an edge, or one more or less than it was.
    fn number(&mut self, bytes: &mut [u8], at: usize) {
        let size = 1 << self.random.below(3);
        let Some(field) = bytes.get_mut(at..at + size) else { return };
        let was = field.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let value = match self.random.below(4) {
            0 => was.wrapping_add(1 + self.random.below(4)),
            1 => was.wrapping_sub(1 + self.random.below(4)),
            2 => self.random.pick(&EDGES).wrapping_sub(self.random.below(3)),
            _ => self.random.pick(&EDGES),
        };
        let mut be = value.to_be_bytes();
        if self.random.chance(200) {
            be.reverse();
            field.copy_from_slice(&be[..size]);
        } else {
            field.copy_from_slice(&be[8 - size..]);
        }
    }
}
