//! Logins of Kafka clients: PLAIN (RFC 4616) and SCRAM (RFC 5802), within `SaslAuthenticate`.

use std::net::IpAddr;

use bytes::Bytes;
use longshore_engine::ScramKeys;
use longshore_kafka::codes;
use longshore_kafka::message::metadata::put_versions;
use longshore_kafka::message::sasl::{put_authenticate, put_handshake};
use longshore_kafka::{Body, Reply, Request};
use uuid::Uuid;

use crate::access::{Access, Credentials, Principal, ScramHash};
use crate::base64::{decode, encode_padded};

/// What is offered, the best first.
const MECHANISMS: &[&str] = &["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];
/// Bytes of a name or a nonce, far more than clients use.
const PART_BYTES_MAX: usize = 1024;
const FAILED: &str = "Authentication failed: Invalid username or password";

/// How far a login is.
#[derive(Debug, Default)]
enum Stage {
    /// No mechanism is agreed on.
    #[default]
    Begun,
    Plain,
    Scram(ScramHash),
    /// The client was told the salt, and has to prove that it knows the password.
    Proof(Box<Proof>),
}

/// What a client's proof is checked against.
#[derive(Debug)]
struct Proof {
    hash: ScramHash,
    user: String,
    keys: ScramKeys,
    /// What both sides have said so far: `client-first-message-bare,server-first-message`.
    said: String,
    /// That which the client has to repeat.
    nonce: String,
    /// The header of its first message in base64.
    header: String,
}

/// A connection that is not let in yet.
#[derive(Debug)]
pub(super) struct Login {
    access: Access,
    peer: IpAddr,
    stage: Stage,
    /// Whose certificate it has shown.
    certificate: Option<Principal>,
}

/// What comes of a request of it.
pub(super) struct Told {
    /// The frame of the answer.
    pub(super) reply: Vec<Bytes>,
    /// Who it is, once that is known.
    pub(super) who: Option<Principal>,
    /// Whether the connection ends.
    pub(super) ends: bool,
}

impl Login {
    pub(super) fn new(access: Access, peer: IpAddr, certificate: Option<Principal>) -> Self {
        Self { access, peer, stage: Stage::Begun, certificate }
    }

    /// Whether it has shown the certificate of an account.
    pub(super) fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// Who it is by its certificate.
    pub(super) fn certificate(&self) -> Option<&Principal> {
        self.certificate.as_ref()
    }

    /// Who it is by its certificate, once it asks for something without a login before it. Of a
    /// client that logs in as well, the login says who it is, as with Kafka.
    pub(super) fn by_certificate(&mut self, asked: &Body) -> Option<Principal> {
        let logs_in = matches!(
            asked,
            Body::ApiVersions { .. } | Body::SaslHandshake(_) | Body::SaslAuthenticate(_)
        );
        let may = !logs_in && matches!(self.stage, Stage::Begun);
        self.certificate.take_if(|_| may)
    }

    /// Answers a request of a client that is not let in. `None` where there is none for it: the
    /// connection ends, as Kafka has it.
    pub(super) async fn answer(&mut self, request: Request) -> Option<Told> {
        let Request { header, body } = request;
        let mut reply = header.reply();
        let told = |reply: Reply, ends| Some(Told { reply: reply.finish(), who: None, ends });
        match body {
            Body::ApiVersions { known } => {
                let flexible = known && header.version >= 3;
                let mut reply = Reply::new(header.correlation_id, flexible, false);
                put_versions(&mut reply, header.version, known);
                told(reply, false)
            }
            Body::SaslHandshake(asked) => {
                let stage = match asked.mechanism.as_str() {
                    "PLAIN" => Some(Stage::Plain),
                    "SCRAM-SHA-256" => Some(Stage::Scram(ScramHash::Sha256)),
                    "SCRAM-SHA-512" => Some(Stage::Scram(ScramHash::Sha512)),
                    _ => None,
                };
                let begun = matches!(self.stage, Stage::Begun);
                let error = match (begun, stage) {
                    (false, _) => codes::ILLEGAL_SASL_STATE,
                    (true, None) => codes::UNSUPPORTED_SASL_MECHANISM,
                    (true, Some(stage)) => {
                        self.stage = stage;
                        codes::NONE
                    }
                };
                put_handshake(&mut reply, error, MECHANISMS);
                told(reply, error != codes::NONE)
            }
            Body::SaslAuthenticate(asked) => {
                let answer = self.authenticate(&asked.message).await;
                let version = header.version;
                let (who, ends) = match &answer {
                    Ok((said, who)) => {
                        put_authenticate(&mut reply, version, Ok(said));
                        (who.clone(), false)
                    }
                    Err((code, why)) => {
                        put_authenticate(&mut reply, version, Err((*code, why.as_str())));
                        (None, true)
                    }
                };
                Some(Told { reply: reply.finish(), who, ends })
            }
            _ => None,
        }
    }

    /// What the mechanism says next, and who it is once that is known.
    async fn authenticate(
        &mut self,
        message: &Bytes,
    ) -> Result<(Bytes, Option<Principal>), (i16, String)> {
        let failed = |why: &str| (codes::SASL_AUTHENTICATION_FAILED, why.to_owned());
        match std::mem::take(&mut self.stage) {
            Stage::Begun => {
                let why = "SaslHandshake has to come first".to_owned();
                Err((codes::ILLEGAL_SASL_STATE, why))
            }
            Stage::Plain => {
                let (name, password) = plain(message).ok_or_else(|| failed("malformed PLAIN"))?;
                let with = Credentials::Password { name, password };
                let who = self.access.authenticate(with, Some(self.peer)).await;
                let who = who.map_err(|refusal| failed(&why_of(&refusal)))?;
                Ok((Bytes::new(), Some(who)))
            }
            Stage::Scram(hash) => {
                let first = ClientFirst::parse(message).ok_or_else(|| failed("malformed SCRAM"))?;
                let keys = self.access.scram_keys(&first.user, hash, Some(self.peer));
                let keys = keys.map_err(|refusal| failed(&why_of(&refusal)))?;
                let nonce = format!("{}{}", first.nonce, Uuid::now_v7().simple());
                let salt = encode_padded(&keys.salt);
                let answer = format!("r={nonce},s={salt},i={}", keys.iterations);
                let said = format!("{},{answer}", first.bare);
                let header = encode_padded(first.header.as_bytes());
                let user = first.user;
                let proof = Proof { hash, user, keys, said, nonce, header };
                self.stage = Stage::Proof(Box::new(proof));
                Ok((answer.into(), None))
            }
            Stage::Proof(proof) => {
                let turn = self.access.may_guess(Some(self.peer), &proof.user);
                turn.map_err(|refusal| failed(&why_of(&refusal)))?;
                let signature = proof.check(message);
                let known = signature.and_then(|signature| {
                    let who = self.access.after_scram(&proof.user, &proof.keys).ok()?;
                    Some((format!("v={}", encode_padded(&signature)).into(), Some(who)))
                });
                known.ok_or_else(|| {
                    let refusal = self.access.guessed_wrong(Some(self.peer), &proof.user);
                    failed(&why_of(&refusal))
                })
            }
        }
    }
}

/// Whoever is let in already, or where everybody is, has no need of a login.
pub(super) fn no_handshake(reply: &mut Reply) {
    put_handshake(reply, codes::ILLEGAL_SASL_STATE, &[]);
}

/// The same.
pub(super) fn no_login(reply: &mut Reply, version: i16) {
    let why = "no login is expected: the connection is logged in already, or the server asks for no \
               accounts (use security.protocol PLAINTEXT or SSL)";
    let why = (codes::ILLEGAL_SASL_STATE, why);
    put_authenticate(reply, version, Err(why));
}

/// Why nobody is let in: of credentials that are nobody's, no more than that.
fn why_of(refusal: &crate::http::refusal::Refusal) -> String {
    match refusal.code() {
        crate::http::code::Code::Unauthenticated => FAILED.to_owned(),
        _ => refusal.problem().detail,
    }
}

/// RFC 4616: an identity to act as, the user and the password, with zeros between them.
fn plain(message: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(message).ok()?;
    let mut parts = text.splitn(3, '\0');
    let (act_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    (act_as.is_empty() || act_as == user).then_some((user, password))
}

/// The first message of SCRAM (RFC 5802 7).
#[derive(Debug, Eq, PartialEq)]
struct ClientFirst {
    /// What stands before the message proper: that the channel is not bound.
    header: String,
    bare: String,
    user: String,
    nonce: String,
}

impl ClientFirst {
    fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let rest = text.strip_prefix("n,").or_else(|| text.strip_prefix("y,"))?;
        let (act_as, bare) = rest.split_once(',')?;
        let header = text.strip_suffix(bare)?;
        let mut parts = bare.split(',');
        let user = parts.next()?.strip_prefix("n=")?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        // What follows are extensions, which may be passed over.
        let fits = user.len() <= PART_BYTES_MAX && nonce.len() <= PART_BYTES_MAX;
        // Nobody acts as somebody else, as with PLAIN.
        let as_itself = act_as.is_empty() || act_as.strip_prefix("a=") == Some(user);
        let is_sound = fits && as_itself && !nonce.is_empty() && bare.len() <= 4 * PART_BYTES_MAX;
        let user = user.replace("=2C", ",").replace("=3D", "=");
        is_sound.then(|| Self {
            header: header.to_owned(),
            bare: bare.to_owned(),
            user,
            nonce: nonce.to_owned(),
        })
    }
}

impl Proof {
    /// The server's own proof, where the client's holds.
    fn check(&self, message: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(message).ok()?;
        let (without, proof) = text.rsplit_once(",p=")?;
        let mut parts = without.split(',');
        let header = parts.next()?.strip_prefix("c=")?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        if header != self.header || nonce != self.nonce || text.len() > 4 * PART_BYTES_MAX {
            return None;
        }
        let proof = decode(proof.as_bytes())?;
        let said = format!("{},{without}", self.said);
        self.hash.check(&self.keys, said.as_bytes(), &proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_cut_or_odd_are_none() {
        let first = ClientFirst::parse(b"n,,n=a=2Cb=3D,r=nonce,x=y").unwrap();
        assert_eq!((first.header.as_str(), first.user.as_str()), ("n,,", "a,b="));
        assert_eq!(
            (first.nonce.as_str(), first.bare.as_str()),
            ("nonce", "n=a=2Cb=3D,r=nonce,x=y")
        );
        let itself = ClientFirst::parse(b"n,a=app,n=app,r=x").unwrap();
        assert_eq!((itself.header.as_str(), itself.user.as_str()), ("n,a=app,", "app"));
        for odd in [
            &b""[..],
            b"n,",
            b"n,,",
            b"n,,n=a",
            b"n,,n=a,r=",
            b"p=tls-unique,,n=a,r=x",
            b"n,a=admin,n=app,r=x",
            b"n,app,n=app,r=x",
            b"n,,r=x,n=a",
            b"\xff",
        ] {
            assert_eq!(ClientFirst::parse(odd), None, "{}", odd.escape_ascii());
        }
        assert_eq!(plain(b"\0app\0secret"), Some(("app", "secret")));
        assert_eq!(plain(b"app\0app\0se\0cret"), Some(("app", "se\0cret")));
        for odd in [&b"\0app"[..], b"admin\0app\0secret", b"", b"\0\xff\0x"] {
            assert_eq!(plain(odd), None);
        }
    }

    #[test]
    fn a_proof_is_good_for_its_own_nonce_and_password() {
        let keys = ScramHash::Sha256.keys_of("pencil", b"salt and pepper!", 4096);
        let (hash, user) = (ScramHash::Sha256, "user".to_owned());
        let said = "n=user,r=ab,r=abcd,s=x,i=4096".to_owned();
        let (nonce, header) = ("abcd".to_owned(), "biws".to_owned());
        let proof = Proof { hash, user, keys, said, nonce, header };
        for odd in
            [&b""[..], b"c=biws,r=abcd", b"c=biws,r=abcd,p=", b"c=biws,r=abce,p=AAAA", b"c=x,p=A"]
        {
            assert_eq!(proof.check(odd), None, "{}", odd.escape_ascii());
        }
    }
}
