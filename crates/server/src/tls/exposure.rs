//! What travels where others can read along: addresses that other machines reach, without TLS.

use std::net::SocketAddr;

use thiserror::Error;

use crate::config::ServerConfig;

/// Plain text is to be spoken where others can read along.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "{key} is {address}, which other machines reach, and plain text is spoken there, which \
         tls.required forbids; use {instead} there, and a loopback address for {key}"
)]
pub struct Exposed {
    /// The key of the address.
    pub key: &'static str,
    /// The address.
    pub address: String,
    /// The key of the same face with TLS.
    pub instead: &'static str,
    /// What travels there.
    pub travels: &'static str,
}

/// Every address at which plain text is spoken so that others can read along.
fn exposed(config: &ServerConfig) -> Vec<Exposed> {
    let faces = [
        ("serve.listen", Some(&config.listen), "serve.https", "tokens, jobs and their results"),
        ("serve.amqp", config.amqp_listen.as_ref(), "serve.amqps", "passwords and messages"),
        ("serve.kafka", config.kafka.listen.as_ref(), "serve.kafka_tls", "passwords and events"),
        (
            "serve.management",
            config.management.listen.as_ref(),
            "serve.management_tls",
            "passwords, definitions and messages",
        ),
    ];
    let open = |address: &str| {
        // What is no address is refused where it is listened at.
        let parsed = address.parse::<SocketAddr>();
        parsed.is_ok_and(|address| !address.ip().is_loopback())
    };
    let exposed = faces.into_iter().filter_map(|(key, address, instead, travels)| {
        let address = address.filter(|address| open(address))?.clone();
        Some(Exposed { key, address, instead, travels })
    });
    exposed.collect()
}

/// Warns of every address at which plain text is spoken so that others can read along.
///
/// # Errors
///
/// There is one, and `tls.required` is set.
pub fn check_exposure(config: &ServerConfig) -> Result<(), Exposed> {
    for exposed in exposed(config) {
        if config.tls.required {
            return Err(exposed);
        }
        let Exposed { key, address, instead, travels } = exposed;
        tracing::warn!(
            "{travels} travel in the open at {address} ({key}): whoever is on the way can read and \
             change them; use {instead}, or set tls.required to refuse this"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_refused_where_others_read_along_and_tls_is_required() {
        let mut config = ServerConfig::default();
        config.tls.required = true;
        config.amqp_listen = Some("127.0.0.1:5672".into());
        config.listen = "localhost:1".into();
        assert_eq!(check_exposure(&config), Ok(()));
        config.amqp_listen = Some("10.0.0.7:5672".into());
        let said = check_exposure(&config).unwrap_err().to_string();
        assert!(said.contains("serve.amqp is 10.0.0.7:5672") && said.contains("serve.amqps"));
        config.tls.required = false;
        assert_eq!(check_exposure(&config), Ok(()), "only a warning");
        let keys: Vec<_> = exposed(&config).into_iter().map(|exposed| exposed.key).collect();
        assert_eq!(keys, ["serve.amqp"]);
    }
}
