//! The mutator: makes inputs out of others by flips, splices, length fields, truncation and
//! repetition. The same seed and the same inputs give the same results.

use crate::random::Random;

/// Numbers at which parsers go wrong.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    63,
    64,
    127,
    128,
    255,
    256,
    4095,
    4096,
    0x7fff,
    0xffff,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// How many changes are made to one input at most.
const CHANGES_MAX: usize = 6;

/// A source of inputs.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
    dictionary: &'static [&'static [u8]],
    bytes_max: usize,
}

impl Mutator {
    /// A mutator that puts words of `dictionary` into inputs of at most `bytes_max`.
    pub fn new(seed: u64, dictionary: &'static [&'static [u8]], bytes_max: usize) -> Self {
        Self { random: Random::new(seed), dictionary, bytes_max }
    }

    /// A new input out of those in `pool`.
    pub fn input(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = pool.get(self.random.below(pool.len())).cloned().unwrap_or_default();
        for _ in 0..=self.random.below(CHANGES_MAX) {
            self.change(&mut input, pool);
        }
        input.truncate(self.bytes_max);
        input
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.random.below(input.len());
        match self.random.below(13) {
            0 | 1 => self.flip(input, at),
            2 => overwrite(input, at, &[self.random.number() as u8]),
            3 => self.number(input, at),
            4 => input.truncate(at),
            5 => drop(input.drain(self.range(input, 64))),
            6 => {
                let bytes: Vec<u8> =
                    (0..=self.random.below(16)).map(|_| self.random.number() as u8).collect();
                insert(input, at, &bytes);
            }
            7 => {
                let piece = input.get(self.range(input, 64)).unwrap_or_default().to_vec();
                insert(input, at, &piece);
            }
            8 => self.repeat(input, at),
            9 => self.splice(input, at, pool),
            10 => {
                let range = self.range(input, 16);
                let to = self.random.below(input.len());
                let piece = input.get(range).unwrap_or_default().to_vec();
                overwrite(input, to, &piece);
            }
            _ => {
                if let Some(word) = self.random.pick(self.dictionary) {
                    insert(input, at, word);
                }
            }
        }
    }

    fn flip(&mut self, input: &mut [u8], at: usize) {
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.random.below(8);
        }
    }

    /// Writes a number as a length field would have it: of 1, 2, 4 or 8 bytes, in either order, or
    /// LEB128.
    fn number(&mut self, input: &mut Vec<u8>, at: usize) {
        let mut number = NUMBERS.get(self.random.below(NUMBERS.len())).copied().unwrap_or_default();
        if self.random.below(3) == 0 {
            number = (input.len() as u64).wrapping_add(self.random.number() % 5).wrapping_sub(2);
        }
        let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
        let width = 1 << self.random.below(4);
        match self.random.below(4) {
            0 => overwrite(input, at, big.get(8 - width..).unwrap_or_default()),
            1 => {
                let mut leb128 = Vec::new();
                while number >= 0x80 {
                    leb128.push(number as u8 | 0x80);
                    number >>= 7;
                }
                leb128.push(number as u8);
                // In the place of one byte, as most lengths have.
                drop(input.drain(at..(at + 1).min(input.len())));
                insert(input, at, &leb128);
            }
            _ => overwrite(input, at, little.get(..width).unwrap_or_default()),
        }
    }

    /// Repeats a short piece so often that whoever recurses or counts meets his limit.
    fn repeat(&mut self, input: &mut Vec<u8>, at: usize) {
        let range = self.range(input, 8);
        let piece = input.get(range).unwrap_or_default().to_vec();
        let times = 1 << self.random.below(11);
        insert(input, at, &piece.repeat(times));
    }

    /// Goes on as another input does.
    fn splice(&mut self, input: &mut Vec<u8>, at: usize, pool: &[Vec<u8>]) {
        let Some(other) = pool.get(self.random.below(pool.len())) else { return };
        let from = self.random.below(other.len());
        input.truncate(at);
        input.extend_from_slice(other.get(from..).unwrap_or_default());
    }

    fn range(&mut self, input: &[u8], length_max: usize) -> std::ops::Range<usize> {
        let start = self.random.below(input.len());
        let length = self.random.below(length_max) + 1;
        start..(start + length).min(input.len())
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at.min(input.len());
    drop(input.splice(at..at, bytes.iter().copied()));
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in input.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let pool = vec![b"{\"kind\":\"a\"}".to_vec(), vec![0; 80], Vec::new()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, &[b"\"args\""], 4096);
            (0..2000).map(|_| mutator.input(&pool)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(3), inputs(3));
        assert_ne!(inputs(3), inputs(4));
        assert!(inputs(5).iter().all(|input| input.len() <= 4096));
    }
}
