//! `SaslHandshake` and `SaslAuthenticate`: which mechanism, and its messages.

use bytes::Bytes;

use crate::codes;
use crate::input::{Input, Malformed};
use crate::output::Reply;

#[derive(Clone, Debug)]
pub struct HandshakeRequest {
    pub mechanism: String,
}

impl HandshakeRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        Ok(Self { mechanism: input.string()? })
    }
}

/// What is offered, and whether what was asked for is among that.
pub fn put_handshake(reply: &mut Reply, error: i16, mechanisms: &[&str]) {
    reply.i16(error);
    reply.array(mechanisms, |reply, mechanism| reply.string(mechanism));
}

#[derive(Clone)]
pub struct AuthenticateRequest {
    /// What the mechanism says; it may hold a password.
    pub message: Bytes,
}

impl std::fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticateRequest").finish_non_exhaustive()
    }
}

impl AuthenticateRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let message = input.nullable_bytes()?.unwrap_or_default();
        input.tags()?;
        Ok(Self { message })
    }
}

/// What the mechanism answers, or why nobody is let in.
pub fn put_authenticate(reply: &mut Reply, version: i16, answer: Result<&Bytes, (i16, &str)>) {
    let (error, message) =
        answer.err().map_or((codes::NONE, None), |(code, why)| (code, Some(why)));
    reply.i16(error);
    reply.nullable_string(message);
    reply.bytes(answer.unwrap_or(&Bytes::new()));
    if version >= 1 {
        // It need not be done again.
        reply.i64(0);
    }
    reply.tags();
}
