//! Bearer tokens: 256 bits of the system's randomness behind a prefix that scanners for leaked
//! secrets can look for. The server keeps their hashes only; those need no salt.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::base64;

/// What every token begins with.
const PREFIX: &str = "lsh_";

/// Bytes of a token that somebody chose. What is longer is none, whoever sends it.
pub(super) const TOKEN_BYTES: RangeInclusive<usize> = 24..=512;

/// Whether somebody may choose that token: one that nobody guesses, and that a header can carry.
pub(super) fn check_token(token: &str) -> Result<(), String> {
    if !TOKEN_BYTES.contains(&token.len()) {
        let (least, most) = (TOKEN_BYTES.start(), TOKEN_BYTES.end());
        return Err(format!("the token has {} bytes; allowed: {least} to {most}", token.len()));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token has other letters than those of ASCII that are seen".to_owned());
    }
    Ok(())
}

/// Fills bytes from the system's source of randomness.
///
/// # Errors
///
/// The system has none.
pub(super) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}

/// A new token.
pub(crate) fn new_token() -> std::io::Result<String> {
    let text = base64::encode(&random::<32>()?).replace('+', "-").replace('/', "_");
    Ok(format!("{PREFIX}{text}"))
}

/// What is kept of a token.
pub(crate) fn hash_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
