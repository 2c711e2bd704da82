//! The prepared form of a subscription's definition for its lane, made once when the configuration is loaded.
//!
//! Leaves to `config` what is valid. Invariant: settings do not change; a new definition makes new ones, which keep
//! the client, and so its pooled connections, as long as the way to the endpoint is the same.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use url::{Origin, Url};

use crate::config::{Config, Subscription, etag};
use crate::delivery::own;
use crate::domain::{AutoDisable, RateLimit, Retry, SubscriptionName, Timestamp};
use crate::egress::{AddressPolicy, Client, ClientOptions, Egress};
use crate::mail::{Mailer, MailerError};
use crate::request::{RequestPlan, TargetError};
use crate::signing::{Signer, SigningError};

/// Why a subscription cannot be delivered to. Does not happen with a configuration that was validated.
#[derive(Debug, thiserror::Error)]
#[error("subscription {subscription} cannot be delivered to")]
pub struct SettingsError {
    /// Which subscription.
    pub subscription: SubscriptionName,
    /// The error in it.
    pub source: SettingsProblem,
}

/// The errors of a subscription.
#[derive(Debug, thiserror::Error)]
pub enum SettingsProblem {
    /// It has no endpoint.
    #[error("it is active and has no url")]
    NoUrl,
    /// Its endpoint cannot be requested.
    #[error("its url cannot be requested")]
    Target(#[from] TargetError),
    /// Its secret does not fit its signature schemes.
    #[error("its requests cannot be signed")]
    Signing(#[from] SigningError),
    /// No e-mail can be sent.
    #[error("no e-mail can be sent")]
    Mailer(#[from] MailerError),
}

/// Reports whether lanes could start with the definitions in a configuration.
///
/// # Errors
/// [`SettingsError`] of the first that is wrong. Does not happen with a configuration that was validated.
pub fn check(config: &Config) -> Result<(), SettingsError> {
    let of = |name: &SubscriptionName, source| SettingsError {
        subscription: name.clone(),
        source,
    };
    own::mailer(config).map_err(|error| of(&SubscriptionName::mail(), error.into()))?;
    let (egress, policy) = (Egress::new(), Arc::new(config.network.clone()));
    for (name, subscription) in &config.subscriptions {
        if subscription.active {
            let settings = Settings::new(subscription, &egress, &policy, None);
            settings.map_err(|source| of(name, source))?;
        }
    }
    Ok(())
}

/// How an active subscription is delivered to.
#[derive(Debug)]
pub(super) struct Settings {
    /// How an attempt is sent.
    pub(super) transport: Transport,
    /// When failed deliveries are attempted again.
    pub(super) retry: Retry,
    /// From dialling to the end of the response head.
    pub(super) timeout: Duration,
    /// Attempts in flight at most.
    pub(super) concurrency: usize,
    /// Attempts in a period at most.
    pub(super) rate_limit: Option<RateLimit>,
    /// Statuses that make a delivery dead at once, in order.
    pub(super) give_up_on: Vec<u16>,
    /// When it is disabled for failing.
    pub(super) auto_disable: AutoDisable,
    /// Nothing but the file disables it.
    pub(super) locked: bool,
    /// The digest of the url; 0 without one.
    pub(super) endpoint: u64,
}

/// How an attempt is sent.
#[derive(Debug)]
pub(super) enum Transport {
    /// As a request to the endpoint.
    Http(Box<Http>),
    /// As an e-mail.
    Mail(Mailer),
}

/// The parts needed to send a request.
#[derive(Debug)]
pub(super) struct Http {
    /// The requests, but for what differs from event to event.
    pub(super) plan: RequestPlan,
    /// The way to the endpoint.
    pub(super) client: Client,
    /// The way for which the client was made.
    way: Way,
}

/// The properties of the way to an endpoint: another way needs another client.
#[derive(Debug, PartialEq)]
struct Way {
    origin: Origin,
    options: ClientOptions,
    policy: Arc<AddressPolicy>,
}

impl Settings {
    /// Prepares the settings of an active subscription; `previous` are those it had until now.
    ///
    /// # Errors
    /// [`SettingsProblem`]; does not happen with a configuration that was validated.
    pub(super) fn new(
        subscription: &Subscription,
        egress: &Egress,
        policy: &Arc<AddressPolicy>,
        previous: Option<&Self>,
    ) -> Result<Self, SettingsProblem> {
        let endpoint = subscription.url.as_ref().ok_or(SettingsProblem::NoUrl)?;
        let way = Way {
            origin: endpoint.url.origin(),
            options: client_options(subscription),
            policy: Arc::clone(policy),
        };
        let previous = previous.and_then(Self::http);
        let client = match previous.filter(|previous| previous.way == way) {
            Some(previous) => previous.client.clone(),
            None => egress.client(&way.options, Arc::clone(policy)),
        };
        let plan = plan(subscription, &endpoint.url)?;
        let transport = Transport::Http(Box::new(Http { plan, client, way }));
        Ok(Self::with(subscription, transport, digest(&endpoint.url)))
    }

    /// Prepares the settings of the subscription that sends e-mails.
    pub(super) fn mail(subscription: &Subscription, mailer: Mailer) -> Self {
        Self::with(subscription, Transport::Mail(mailer), 0)
    }

    /// Whether these are the settings for e-mails that are sent like those of `mailer`.
    pub(super) fn is_mail_by(&self, mailer: &Mailer) -> bool {
        matches!(&self.transport, Transport::Mail(own) if own == mailer)
    }

    /// When the endpoint's certificate ends, as last seen.
    pub(super) fn certificate_expires(&self) -> Option<Timestamp> {
        self.http()?.client.certificate_expires()
    }

    fn http(&self) -> Option<&Http> {
        match &self.transport {
            Transport::Http(http) => Some(http),
            Transport::Mail(_) => None,
        }
    }

    fn with(subscription: &Subscription, transport: Transport, endpoint: u64) -> Self {
        Self {
            transport,
            retry: subscription.retry.clone(),
            timeout: subscription.timeout,
            concurrency: subscription.concurrency,
            rate_limit: subscription.rate_limit,
            give_up_on: subscription.give_up_on.clone(),
            auto_disable: subscription.auto_disable,
            locked: subscription.locked,
            endpoint,
        }
    }
}

/// Identifies a url over restarts: the first 8 bytes of its SHA-256, little endian. It may be a secret, so
/// the url itself is not kept in the store.
pub(super) fn digest(url: &Url) -> u64 {
    short(&Sha256::digest(url.as_str()))
}

/// Identifies a definition over restarts, secrets and url included.
pub(super) fn digest_of(subscription: &Subscription) -> u64 {
    let url = subscription.url.as_ref();
    let url = url.map_or("", |url| url.url.as_str());
    short(&Sha256::digest(etag(subscription) + url))
}

fn short(hash: &[u8]) -> u64 {
    let first = hash.iter().take(8).rev();
    first.fold(0, |digest, byte| digest << 8 | u64::from(*byte))
}

fn plan(subscription: &Subscription, url: &Url) -> Result<RequestPlan, SettingsProblem> {
    let signer = Signer::new(
        &subscription.signature,
        subscription.secret.as_ref(),
        &subscription.previous_secrets,
    )?;
    let plan = RequestPlan::new(
        subscription.name.clone(),
        subscription.method.clone(),
        url,
        subscription.request_headers(),
        subscription.forward_headers.clone(),
        signer,
    )?;
    Ok(plan)
}

fn client_options(subscription: &Subscription) -> ClientOptions {
    ClientOptions {
        http2: subscription.http2,
        roots: subscription.roots.clone(),
        min_version: subscription.min_tls_version,
        // As many as may be in use: with fewer, a busy lane would close connections only to dial them again.
        idle_connections: subscription.concurrency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_recognized_by_its_digest() {
        let of = |url: &str| digest(&url.parse().unwrap());
        // echo -n https://a.example/ | sha256sum
        assert_eq!(
            of("https://a.example/").to_le_bytes(),
            *b"\xbe\xfd\xe4\x98\xa4\x5b\x6c\x82"
        );
        assert_eq!(of("https://a.example"), of("https://a.example/"));
        assert_ne!(of("https://a.example/b"), of("https://a.example/"));
    }
}
