//! Who comes in: credentials against the accounts. What an attempt may cost is bounded: passwords
//! are hashed a few at a time, an address that fails often waits, and a name that no account has
//! takes as long as a wrong password.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use longshore_engine::{Account, PasswordKeys, ScramKeys, TimeMs};
use longshore_node::{Node, wall_now};
use tokio::sync::{Semaphore, watch};

use super::bootstrap::AccessConfig;
use super::password::{PASSWORD_BYTES, keys_of, matches, nobodys};
use super::peers::Peers;
use super::principal::{Known, Principal, Proof};
use super::rates::Rates;
use super::scram::{ITERATIONS, ScramHash, hmac_sha_256};
use super::snapshot::Snapshot;
use super::token::{TOKEN_BYTES, hash_of, random};
use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::text::quoted;
use crate::sparse::Sparse;

/// Passwords that are hashed at the same time, at 19 MiB each, and attempts that wait for that.
const HASHING_MAX: usize = 2;
const WAITING_MAX: usize = 64;
/// Places for both. They go with the work and not with whoever waits for it, who may hang up.
static HASHING: Semaphore = Semaphore::const_new(HASHING_MAX);
static WAITING: Semaphore = Semaphore::const_new(WAITING_MAX);
/// Passwords that were right, of which it is remembered that they were.
const VERIFIED_MAX: usize = 1024;

/// What somebody comes in with.
#[derive(Clone, Copy)]
pub(crate) enum Credentials<'a> {
    /// A token.
    Bearer(&'a str),
    /// A name and a password.
    Password {
        /// The account.
        name: &'a str,
        /// Its password.
        password: &'a str,
    },
    /// A certificate that TLS has verified.
    Certificate(&'a Shown),
}

/// A certificate that TLS has verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Shown {
    /// Whose it is.
    pub(crate) subject: Arc<str>,
    /// When it ends, in milliseconds since 1970.
    pub(crate) ends: Option<TimeMs>,
}

impl Shown {
    /// Whether it has not ended: connections are open for longer than a handshake takes.
    pub(super) fn holds(&self) -> bool {
        self.ends.is_none_or(|at| at > wall_now())
    }
}

/// Where a connection comes from, and what TLS knows of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: Option<IpAddr>,
    /// Its certificate, once TLS has verified it.
    pub(crate) certificate: Option<Shown>,
    /// Whether it is encrypted.
    pub(crate) is_tls: bool,
}

/// Whether and how a server asks who comes in. Clones share all of it.
#[derive(Clone, Debug, Default)]
pub struct Access(pub(super) Option<Arc<Inner>>);

/// What is kept of a server that asks.
pub(crate) struct Inner {
    pub(super) node: Node,
    pub(super) config: AccessConfig,
    /// `None` until the shard that has the accounts was asked.
    snapshot: RwLock<Option<Arc<Snapshot>>>,
    versions: watch::Sender<u64>,
    /// Changes go one after the other.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// What no other process knows.
    secret: [u8; 32],
    verified: Mutex<VecDeque<[u8; 32]>>,
    peers: Mutex<Peers>,
    failures: Sparse,
    denials: Sparse,
    rates: Mutex<Rates>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Access {
    /// Asks nobody.
    pub fn off() -> Self {
        Self(None)
    }

    /// As the configuration says. Where accounts are required, they are read in the background, as
    /// soon as their shard has started, and nobody comes in before.
    ///
    /// # Errors
    ///
    /// The system has no randomness, or the configuration names a file that cannot be read or says
    /// what cannot be.
    pub fn start(config: &AccessConfig, node: &Node) -> std::io::Result<Self> {
        config.check()?;
        if !config.required {
            return Ok(Self::off());
        }
        let bootstrap = config.read()?;
        let inner = Arc::new(Inner {
            node: node.clone(),
            config: config.clone(),
            snapshot: RwLock::default(),
            versions: watch::Sender::new(0),
            changing: tokio::sync::Mutex::default(),
            secret: random()?,
            verified: Mutex::default(),
            peers: Mutex::default(),
            failures: Sparse::default(),
            denials: Sparse::default(),
            rates: Mutex::default(),
        });
        tokio::spawn(super::bootstrap::load(Arc::clone(&inner), bootstrap));
        Ok(Self(Some(inner)))
    }

    /// Is ready once accounts are read, where they are asked for.
    pub async fn ready(&self) {
        let Some(inner) = &self.0 else { return };
        // The sender is there for as long as this is.
        let _ = inner.versions().wait_for(|version| *version > 0).await;
    }

    /// Whether accounts are read, where they are asked for.
    pub(crate) fn is_read(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.snapshot().is_ok())
    }

    /// Whether everybody is asked who it is.
    pub fn is_required(&self) -> bool {
        self.0.is_some()
    }

    /// Whether metrics are told to whoever asks.
    pub(crate) fn opens_metrics(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.config.open_metrics)
    }

    /// Who may do what where nobody has come in yet.
    pub(crate) fn anybody(&self) -> Principal {
        if self.0.is_some() { Principal::Nobody } else { Principal::Local }
    }

    /// Failures to come in so far.
    pub(crate) fn failures_total(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.failures.total())
    }

    /// How often accounts were refused what they may not do.
    pub(crate) fn denials_total(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.denials.total())
    }

    /// Lets somebody in, or says why not.
    pub(crate) async fn authenticate(
        &self,
        with: Credentials<'_>,
        peer: Option<IpAddr>,
    ) -> Result<Principal, Refusal> {
        let Some(inner) = &self.0 else { return Ok(Principal::Local) };
        let snapshot = inner.snapshot()?;
        let found = match with {
            Credentials::Bearer(token) => by_token(&snapshot, token),
            Credentials::Certificate(shown) => {
                let account = snapshot.of_certificate(&shown.subject).filter(|_| shown.holds());
                account.map(|account| (Arc::clone(account), Proof::Certificate(shown.clone())))
            }
            Credentials::Password { name, password } => {
                let found = inner.by_password(&snapshot, (name, password), peer).await?;
                // A wrong one is counted where it was found to be wrong.
                let (account, proof) = found.ok_or_else(unauthenticated)?;
                return Ok(inner.known(account, proof));
            }
        };
        match found {
            Some((account, proof)) => Ok(inner.known(account, proof)),
            // Only who has one of an authority that is trusted gets here: nothing is guessed, and
            // many show theirs for TLS alone and say by other means who they are.
            None => match with {
                Credentials::Certificate(shown) => Err(nobodys_certificate(shown)),
                _ => Err(inner.failed(peer)),
            },
        }
    }

    /// Refuses the peer where it has given too many wrong passwords.
    pub(crate) fn may_guess(&self, peer: Option<IpAddr>, name: &str) -> Result<(), Refusal> {
        self.0.as_ref().map_or(Ok(()), |inner| inner.may_guess(peer, name))
    }

    /// The keys of an account for SCRAM; of a name that no account with a password has, keys that
    /// nobody's proof fits. None for a peer that has failed too often.
    pub(crate) fn scram_keys(
        &self,
        name: &str,
        hash: ScramHash,
        peer: Option<IpAddr>,
    ) -> Result<ScramKeys, Refusal> {
        let Some(inner) = &self.0 else { return Err(unauthenticated()) };
        inner.may_guess(peer, name)?;
        let account = inner.snapshot()?.accounts.get(name).cloned();
        let password = account.as_ref().and_then(|account| account.password.as_ref());
        let keys = password.and_then(|keys| match hash {
            ScramHash::Sha256 => keys.scram_sha_256.clone(),
            ScramHash::Sha512 => keys.scram_sha_512.clone(),
        });
        Ok(keys.unwrap_or_else(|| nobodys_keys(&inner.secret, name, hash)))
    }

    /// Lets an account in whose client has proven to know what belongs to `keys`.
    pub(crate) fn after_scram(&self, name: &str, keys: &ScramKeys) -> Result<Principal, Refusal> {
        let Some(inner) = &self.0 else { return Ok(Principal::Local) };
        let account = inner.account(name).ok_or_else(unauthenticated)?;
        let password = account.password.as_ref().ok_or_else(unauthenticated)?;
        let known = [&password.scram_sha_256, &password.scram_sha_512];
        if !known.into_iter().flatten().any(|known| known == keys) {
            return Err(unauthenticated());
        }
        let proof = Proof::Password(password.hash.clone());
        Ok(inner.known(account, proof))
    }

    /// Notes that somebody did not prove to know the password of a name, and says what it is told.
    pub(crate) fn guessed_wrong(&self, peer: Option<IpAddr>, name: &str) -> Refusal {
        if let Some(inner) = &self.0 {
            inner.guessed_wrong(peer, name);
        }
        unauthenticated()
    }

    /// Notes that somebody failed to come in, and says what it is told.
    pub(crate) fn failed(&self, peer: Option<IpAddr>) -> Refusal {
        self.0.as_ref().map_or_else(unauthenticated, |inner| inner.failed(peer))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn busy() -> Refusal {
    let detail = "too many passwords wait to be hashed";
    Refusal::new(Code::TooManyFailures, detail).retry_after_s(1)
}

/// Makes all that is kept of a new password, in turn with those that are checked.
pub(crate) async fn new_password(password: String) -> Result<PasswordKeys, Refusal> {
    let hashing = HASHING.acquire().await.map_err(|_| busy())?;
    let made = tokio::task::spawn_blocking(move || {
        let made = keys_of(&password);
        drop(hashing);
        made
    });
    made.await.map_err(std::io::Error::other).and_then(|made| made).map_err(|error| {
        tracing::error!(%error, "a password cannot be hashed");
        Refusal::new(Code::Internal, "the password cannot be hashed")
    })
}

/// What somebody is told who is not let in, whatever the reason.
pub(crate) fn unauthenticated() -> Refusal {
    let detail = "no account comes in with these credentials, or there are none; send \
                  `Authorization: Bearer TOKEN`, or a name and a password";
    Refusal::new(Code::Unauthenticated, detail)
}

/// The subject is the client's own, and nobody else sees how it is read here.
fn nobodys_certificate(shown: &Shown) -> Refusal {
    let subject = quoted(&shown.subject);
    tracing::debug!(subject, "no account has the certificate, or it has ended");
    if !shown.holds() {
        return unauthenticated();
    }
    let detail = format!(
        "no account has the certificate {subject}; let one name it so, or send \
         `Authorization: Bearer TOKEN`, or a name and a password"
    );
    Refusal::new(Code::Unauthenticated, detail)
}

fn by_token(snapshot: &Snapshot, token: &str) -> Option<(Arc<Account>, Proof)> {
    if token.len() > *TOKEN_BYTES.end() {
        return None;
    }
    let hash = hash_of(token);
    let account = snapshot.of_token(&hash)?;
    let token = account.tokens.iter().find(|token| token.hash[..] == hash)?;
    let valid = token.expires_at.is_none_or(|at| at > wall_now());
    valid.then(|| (Arc::clone(account), Proof::Token(token.id.clone(), token.hash.clone())))
}

impl Inner {
    fn known(self: &Arc<Self>, account: Arc<Account>, proof: Proof) -> Principal {
        Principal::Account(Arc::new(Known { inner: Arc::clone(self), account, proof }))
    }

    /// The accounts as they are now.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.ok_or_else(|| {
            let detail = "the accounts are not read yet";
            Refusal::new(Code::ShardStarting, detail).retry_after_s(1)
        })
    }

    pub(super) fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.snapshot().ok()?.accounts.get(name).cloned()
    }

    /// The accounts are these from now on.
    pub(super) fn put_snapshot(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.rates().retain(|name| snapshot.accounts.contains_key(name));
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        self.versions.send_modify(|version| *version += 1);
    }

    /// An account is so from now on, or is there no longer.
    pub(super) fn put_account(&self, name: &str, account: Option<Account>) {
        // Before the first look there is nothing to change.
        if let Ok(snapshot) = self.snapshot() {
            self.put_snapshot(snapshot.with(name, account));
        }
    }

    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    pub(super) fn rates(&self) -> MutexGuard<'_, Rates> {
        lock(&self.rates)
    }

    async fn by_password(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        (name, password): (&str, &str),
        peer: Option<IpAddr>,
    ) -> Result<Option<(Arc<Account>, Proof)>, Refusal> {
        let account = snapshot.accounts.get(name);
        let keys = account.and_then(|account| account.password.as_ref());
        let hash = keys.map_or_else(nobodys, |keys| keys.hash.clone());
        let seen = [name.as_bytes(), hash.as_bytes(), password.as_bytes()];
        let seen = hmac_sha_256(&self.secret, &seen);
        let known = || {
            let account = account.filter(|_| keys.is_some()).cloned();
            account.map(|account| (account, Proof::Password(hash.clone())))
        };
        if lock(&self.verified).contains(&seen) {
            return Ok(known());
        }
        self.may_guess(peer, name)?;
        if password.len() > *PASSWORD_BYTES.end() {
            self.guessed_wrong(peer, name);
            return Ok(None);
        }
        let waiting = WAITING.try_acquire().map_err(|_| busy())?;
        let hashing = HASHING.acquire().await.map_err(|_| busy())?;
        // Those that waited with this one may have been wrong meanwhile.
        self.may_guess(peer, name)?;
        let (given, against, is_known) = (password.to_owned(), hash.clone(), keys.is_some());
        let (inner, named) = (Arc::clone(self), name.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let is_right = matches(&given, &against) && is_known;
            if !is_right {
                inner.guessed_wrong(peer, &named);
            }
            drop((waiting, hashing));
            is_right
        });
        if !checked.await.unwrap_or(false) {
            return Ok(None);
        }
        let mut verified = lock(&self.verified);
        if verified.len() >= VERIFIED_MAX {
            verified.pop_front();
        }
        verified.push_back(seen);
        drop(verified);
        Ok(known())
    }

    /// Refuses to look at a password of a peer that has given too many wrong ones.
    fn may_guess(&self, peer: Option<IpAddr>, name: &str) -> Result<(), Refusal> {
        let Some(wait_s) = lock(&self.peers).waits_s(peer, name, Instant::now()) else {
            return Ok(());
        };
        let detail = "too many attempts to come in failed from this address, with this name or with \
                      many: correct the password and wait; tokens are not held up";
        Err(Refusal::new(Code::TooManyFailures, detail).retry_after_s(wait_s))
    }

    /// Notes a wrong password.
    fn guessed_wrong(&self, peer: Option<IpAddr>, name: &str) {
        lock(&self.peers).guessed_wrong(peer, name, Instant::now());
        self.failed(peer);
    }

    /// Notes that an account was refused what it may not do.
    pub(super) fn denied(&self, account: &str, wanted: &str) {
        if let Some(count) = self.denials.happens() {
            tracing::warn!(
                account,
                wanted,
                count,
                "refused what accounts may not do; told once in 10 s"
            );
        }
    }

    fn failed(&self, peer: Option<IpAddr>) -> Refusal {
        if let Some(count) = self.failures.happens() {
            let peer = peer.map_or_else(|| "somewhere".to_owned(), |peer| peer.to_string());
            tracing::warn!(peer, count, "failed logins; told once in 10 s");
        }
        unauthenticated()
    }
}

/// Keys for SCRAM of a name that has none. As accounts have a salt for each mechanism, so has this.
fn nobodys_keys(secret: &[u8; 32], name: &str, hash: ScramHash) -> ScramKeys {
    let mechanism: &[u8] = match hash {
        ScramHash::Sha256 => b"scram-sha-256",
        ScramHash::Sha512 => b"scram-sha-512",
    };
    let part = |of: &[u8]| hmac_sha_256(secret, &[mechanism, of, name.as_bytes()]);
    ScramKeys {
        iterations: ITERATIONS,
        salt: bytes::Bytes::copy_from_slice(&part(b"salt")[..16]),
        stored_key: bytes::Bytes::copy_from_slice(&part(b"stored")),
        server_key: bytes::Bytes::copy_from_slice(&part(b"server")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_has_has_the_salts_that_an_account_would_have() {
        let salt = |name, hash| nobodys_keys(&[7; 32], name, hash).salt;
        let [of_256, of_512] = [ScramHash::Sha256, ScramHash::Sha512].map(|it| salt("ann", it));
        assert_ne!(of_256, of_512, "an account has one for each mechanism");
        assert_eq!(of_256, salt("ann", ScramHash::Sha256), "and the same each time");
        assert_ne!(of_256, salt("bob", ScramHash::Sha256));
    }

    #[test]
    fn a_certificate_holds_until_it_ends() {
        let holds = |ends| Shown { subject: "CN=app".into(), ends }.holds();
        assert!(holds(None) && holds(Some(wall_now().plus(60_000))));
        assert!(!holds(Some(wall_now())) && !holds(Some(TimeMs(0))));
    }
}
