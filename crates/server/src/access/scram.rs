//! SCRAM (RFC 5802, RFC 7677): the keys that are kept of a password, and how a client's proof is
//! checked against them. The messages are the faces'.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use longshore_engine::ScramKeys;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// How often a salted password is hashed. The client does it as often at each connection.
pub(super) const ITERATIONS: u32 = 10_000;

/// Which hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramHash {
    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, text),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, text),
        }
    }

    fn digest(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    /// The keys of a password. It takes some milliseconds.
    pub(crate) fn keys_of(self, password: &str, salt: &[u8], iterations: u32) -> ScramKeys {
        let salted = match self {
            Self::Sha256 => salted::<Hmac<Sha256>>(password, salt, iterations),
            Self::Sha512 => salted::<Hmac<Sha512>>(password, salt, iterations),
        };
        ScramKeys {
            iterations,
            salt: Bytes::copy_from_slice(salt),
            stored_key: self.digest(&self.mac(&salted, b"Client Key")).into(),
            server_key: self.mac(&salted, b"Server Key").into(),
        }
    }

    /// Checks a client's proof of what was said (`AuthMessage`). The server's signature, which
    /// proves to the client that the server has the keys, where it holds.
    pub(crate) fn check(self, keys: &ScramKeys, said: &[u8], proof: &[u8]) -> Option<Vec<u8>> {
        let signature = self.mac(&keys.stored_key, said);
        if signature.len() != proof.len() {
            return None;
        }
        let key: Vec<u8> = signature.iter().zip(proof).map(|(one, other)| one ^ other).collect();
        let holds = self.digest(&key).ct_eq(&keys.stored_key[..]);
        bool::from(holds).then(|| self.mac(&keys.server_key, said))
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

/// `Hi()` of RFC 5802: the first block of PBKDF2.
fn salted<M: Mac + KeyInit + Clone>(password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let keyed = <M as KeyInit>::new_from_slice(password.as_bytes());
    let keyed = keyed.expect("HMAC takes keys of every length");
    let mut last = keyed.clone().chain_update(salt).chain_update(1_u32.to_be_bytes()).finalize();
    let mut sum = last.as_bytes().to_vec();
    for _ in 1..iterations {
        last = keyed.clone().chain_update(last.as_bytes()).finalize();
        for (sum, byte) in sum.iter_mut().zip(last.as_bytes()) {
            *sum ^= byte;
        }
    }
    sum
}

/// An authenticator for what this process alone shall be able to make.
pub(super) fn hmac_sha_256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length will do");
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64::decode;

    /// The example of RFC 7677 3.
    #[test]
    fn the_example_of_the_standard_holds() {
        let salt = decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramHash::Sha256.keys_of("pencil", &salt, 4096);
        let said = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = decode(b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = decode(b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert_eq!(ScramHash::Sha256.check(&keys, said, &proof), Some(signature));
        let mut other = proof.clone();
        other[0] ^= 1;
        assert_eq!(ScramHash::Sha256.check(&keys, said, &other), None);
        assert_eq!(ScramHash::Sha256.check(&keys, said, &proof[1..]), None);
        assert_eq!(ScramHash::Sha256.check(&keys, b"n=admin", &proof), None);
    }
}
