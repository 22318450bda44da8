//! Bearer tokens: 256 bits of the system's randomness behind a prefix that scanners for leaked
//! secrets can look for. The server keeps their hashes only; those need no salt.

use sha2::{Digest, Sha256};

use super::base64;

/// What every token begins with.
const PREFIX: &str = "lsh_";

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
