//! Passwords: Argon2id (RFC 9106) with the least that OWASP advises, 19 MiB and two passes. The
//! hashes are in PHC's text form, so that files of accounts may hold those of other programs.

use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Params, Version};
use longshore_engine::PasswordKeys;
use subtle::ConstantTimeEq;

use super::scram::{ITERATIONS, ScramHash};
use super::token::random;
use crate::base64::{decode, encode};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// What a hash from elsewhere may cost.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 8;

/// Bytes of a password. What is longer is none, and refused before it is hashed; what is shorter is
/// given to no account.
pub(crate) const PASSWORD_BYTES: RangeInclusive<usize> = 8..=1024;

/// Makes all that is kept of a password. It takes tens of milliseconds.
///
/// # Errors
///
/// The system has no randomness.
pub(crate) fn keys_of(password: &str) -> std::io::Result<PasswordKeys> {
    let salt = random::<16>()?;
    let mut hash = [0; HASH_BYTES];
    let cost = Cost { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES };
    let hashed = cost.hash(password, &salt, &mut hash);
    hashed.expect("the cost, the salt and the length are within Argon2's bounds");
    let hash = format!(
        "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
        encode(&salt),
        encode(&hash)
    );
    let scram = |of: ScramHash| -> std::io::Result<_> {
        Ok(Some(of.keys_of(password, &random::<16>()?, ITERATIONS)))
    };
    Ok(PasswordKeys {
        hash,
        scram_sha_256: scram(ScramHash::Sha256)?,
        scram_sha_512: scram(ScramHash::Sha512)?,
    })
}

/// The keys of a password that is given, or whose hash is: those that are kept, where they fit.
pub(super) fn given(
    password: Option<&str>,
    hash: Option<&str>,
    kept: Option<&PasswordKeys>,
) -> std::io::Result<Option<PasswordKeys>> {
    if let Some(password) = password {
        return match kept.filter(|kept| matches(password, &kept.hash)) {
            Some(kept) => Ok(Some(kept.clone())),
            None => keys_of(password).map(Some),
        };
    }
    let Some(hash) = hash else { return Ok(None) };
    let made = || PasswordKeys { hash: hash.to_owned(), scram_sha_256: None, scram_sha_512: None };
    Ok(Some(kept.filter(|kept| kept.hash == hash).cloned().unwrap_or_else(made)))
}

/// A hash that no password has, for names that no account has: it costs as much to find that out.
pub(super) fn nobodys() -> String {
    let (salt, hash) = (encode(&[0x5a; 16]), encode(&[0; HASH_BYTES]));
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}")
}

/// Whether a password has this hash. It takes tens of milliseconds.
pub(super) fn matches(password: &str, hash: &str) -> bool {
    let Some(parsed) = Parsed::read(hash) else { return false };
    let mut found = vec![0; parsed.hash.len()];
    let hashed = parsed.cost.hash(password, &parsed.salt, &mut found);
    hashed.is_some() && bool::from(found.ct_eq(&parsed.hash))
}

/// Whether it is a hash that [`matches`] can check, at a bounded cost.
pub(super) fn is_sound(hash: &str) -> bool {
    Parsed::read(hash).is_some()
}

struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    fn hash(&self, password: &str, salt: &[u8], into: &mut [u8]) -> Option<()> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(into.len()));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.ok()?);
        argon2.hash_password_into(password.as_bytes(), salt, into).ok()
    }
}

struct Parsed {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Parsed {
    fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$")?;
        let mut parts = rest.split('$');
        let (cost, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut numbers = ["m=", "t=", "p="].into_iter().zip(cost.split(','));
        let mut number = || {
            let (name, text) = numbers.next()?;
            text.strip_prefix(name)?.parse::<u32>().ok()
        };
        let (memory_kib, passes, lanes) = (number()?, number()?, number()?);
        if cost.split(',').count() != 3
            || memory_kib > MEMORY_KIB_MAX
            || passes > PASSES_MAX
            || lanes > 16
        {
            return None;
        }
        let cost = Cost { memory_kib, passes, lanes };
        let (salt, hash) = (decode(salt.as_bytes())?, decode(hash.as_bytes())?);
        let sound = (8..=64).contains(&salt.len())
            && (16..=64).contains(&hash.len())
            && Params::new(memory_kib, passes, lanes, Some(hash.len())).is_ok();
        sound.then_some(Self { cost, salt, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_its_hash_and_no_other_has() {
        let keys = keys_of("correct horse").unwrap();
        assert!(matches("correct horse", &keys.hash));
        assert!(!matches("correct horsf", &keys.hash));
        assert!(!matches("", &keys.hash) && !matches("", &nobodys()));
        assert!(is_sound(&keys.hash) && is_sound(&nobodys()));
        assert_ne!(keys_of("correct horse").unwrap().hash, keys.hash, "the salt is another one");
    }

    /// Made with the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -k 64
    /// -p 1 -l 24 -e` of its README has these parts with other costs; the text is checked for form.
    #[test]
    fn hashes_beyond_the_bounds_are_not_computed() {
        for odd in [
            "",
            "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=900,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=2,p=1,x=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=0,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=2,p=0$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=2,p=9$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$AAAA",
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA$",
        ] {
            assert!(!is_sound(odd) && !matches("password", odd), "{odd}");
        }
        let sound = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(is_sound(sound) && !matches("password", sound));
    }
}
