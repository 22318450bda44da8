//! Names that the server makes up.

/// Makes names that nobody guesses and that are made once.
#[derive(Debug)]
pub(super) struct Names {
    seed: [u64; 2],
    count: u64,
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Names {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self { seed, count: 0 }
    }

    /// The next name, with this before it and 22 letters, as `RabbitMQ` makes them.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        self.count += 1;
        let mut name = String::from(prefix);
        name.push('-');
        for (seed, letters) in self.seed.into_iter().zip([11, 11]) {
            let mut bits = mixed(seed ^ mixed(self.count));
            for _ in 0..letters {
                name.push(char::from(LETTERS[(bits & 63) as usize]));
                bits = bits.rotate_right(6);
            }
        }
        name
    }
}

/// Splitmix64: every bit depends on every bit.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_comes_twice() {
        let mut names = Names::new([1, 2]);
        let made: BTreeSet<_> = (0..1000).map(|_| names.next("amq.gen")).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|name| name.len() == "amq.gen-".len() + 22));
    }
}
