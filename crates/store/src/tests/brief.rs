//! What is not expected to live for long and does: it is bounded in memory as everything else is.

use longshore_engine::driver::Tree as _;
use longshore_engine::{OrderedMap as _, Position, Reader as _};

use super::{everything, tiny};
use crate::Lsm;

const KEY: [u8; 2] = [1, 7];
const VALUE_BYTES: usize = 500;

/// Only a key that came was held to the bounds: one that was there and changed grew beyond them,
/// and nothing that counts was ever due to be flushed.
#[test]
fn values_that_change_again_and_again_keep_to_the_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let (config, changes) = (tiny(), 100_u64);
    let kept = config.brief_bytes_max;
    let mut map = Lsm::open(dir.path(), config).unwrap();
    let value = |number: u64| vec![number as u8; VALUE_BYTES];
    map.put_brief(Position(1), &KEY, &value(1));
    map.seal(Position(1));
    for number in 2..=changes {
        map.put(Position(number), &KEY, Some(&value(number)));
        map.seal(Position(number));
        let most = kept + 2 * VALUE_BYTES;
        let written = number as usize * VALUE_BYTES;
        assert!(map.active_bytes() + most >= written, "{} of {written}", map.active_bytes());
    }
    assert_eq!(map.get(&KEY).as_deref(), Some(&value(changes)[..]));
    assert_eq!(everything(&map, &[], &[255], 10).len(), 1);
}
