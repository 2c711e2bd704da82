//! The whole configuration in force as a file would say it, without secrets: for `GET /v1/config` and for differences.
//!
//! Invariant: of a secret only the fingerprint is in it, of a secret URL scheme and host.

use serde_json::{Map, Value, json};

use crate::config::definition::{duration, shown_origin, word};
use crate::config::load::{HISTOGRAMS, LOG_FORMATS, LOG_LEVELS};
use crate::config::model::{
    AdminConfig, AdminToken, Config, Durability, Endpoint, Ingest, Listen, ListenAddress,
    NotificationWebhook, Notifications, Smtp, StoreConfig,
};
use crate::config::notifications::SMTP_TLS;
use crate::config::units::written_size;
use crate::domain::{Label, Secret};
use crate::egress::AddressPolicy;

impl Config {
    /// All sections with the values in force, in the notation of the file and with paths resolved. Secrets are shown by
    /// their fingerprints, tokens of the API also by their names.
    #[must_use]
    pub fn redacted(&self) -> Value {
        let mut shown = self.sections();
        let subscriptions = self.subscriptions.iter();
        let subscriptions = subscriptions
            .map(|(name, one)| (name.to_string(), Value::Object(one.definition.fields())));
        shown.insert(
            "subscriptions".to_owned(),
            Value::Object(subscriptions.collect()),
        );
        Value::Object(shown)
    }

    /// The same without subscriptions.
    pub(super) fn sections(&self) -> Map<String, Value> {
        let mut types: Vec<&str> = self
            .event_types
            .iter()
            .flat_map(|types| types.iter())
            .map(Label::as_str)
            .collect();
        types.sort_unstable();
        let sections = [
            ("listen", listen(&self.listen)),
            ("ingest", ingest(&self.ingest)),
            (
                "event_types",
                json!(self.event_types.as_ref().map(|_| types)),
            ),
            ("store", store(&self.store)),
            ("network", network(&self.network)),
            ("admin", admin(&self.admin)),
            ("notifications", notifications(&self.notifications)),
            (
                "log",
                json!({
                    "format": word(&LOG_FORMATS, &self.log.format),
                    "level": word(&LOG_LEVELS, &self.log.level),
                }),
            ),
            (
                "metrics",
                json!({"histograms": word(&HISTOGRAMS, &self.metrics.histograms)}),
            ),
        ];
        let owned = |(key, value): (&str, Value)| (key.to_owned(), value);
        sections.into_iter().map(owned).collect()
    }
}

fn listen(listen: &Listen) -> Value {
    let events: Vec<String> = listen.events.iter().map(address).collect();
    json!({
        "events": events,
        "admin": address(&listen.admin),
        "metrics": listen.metrics.as_ref().map(address),
    })
}

fn address(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.clone(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        ListenAddress::Systemd(name) => format!("systemd:{name}"),
    }
}

fn ingest(ingest: &Ingest) -> Value {
    let tokens: Vec<Value> = ingest.tokens.iter().map(fingerprint).collect();
    json!({
        "max_body": written_size(ingest.max_body),
        "tokens": tokens,
        "type_pointer": ingest.type_pointer,
        "id_pointer": ingest.id_pointer,
        "key_pointer": ingest.key_pointer,
        "dedup_window": duration(ingest.dedup_window),
        "dedup_max": ingest.dedup_max,
    })
}

fn fingerprint(secret: &Secret) -> Value {
    json!({"secret_fingerprint": secret.fingerprint()})
}

fn store(store: &StoreConfig) -> Value {
    let durability = match store.durability {
        Durability::Fsync => "fsync",
        Durability::Relaxed => "relaxed",
    };
    json!({
        "path": store.path.to_string_lossy(),
        "durability": durability,
        "max_pending": written_size(store.max_pending),
        "retention": {
            "delivered": duration(store.retention.delivered),
            "dead": duration(store.retention.dead),
            "max_size": written_size(store.retention.max_size),
        },
        "removed_after": duration(store.removed_after),
    })
}

fn network(policy: &AddressPolicy) -> Value {
    let networks: Vec<String> = policy
        .allow_private
        .iter()
        .map(ToString::to_string)
        .collect();
    json!({
        "allow_private": networks,
        "allow_metadata": policy.allow_metadata,
        "ports": policy.ports,
    })
}

fn admin(admin: &AdminConfig) -> Value {
    let tokens: Vec<Value> = admin.tokens.iter().map(admin_token).collect();
    json!({
        "tokens": tokens,
        "edit_config": admin.edit_config,
        "write_to": admin.write_to.as_ref().map(|path| path.to_string_lossy()),
        "secrets_dir": admin.secrets_dir.to_string_lossy(),
        "allowed_hosts": admin.allowed_hosts,
    })
}

fn admin_token(token: &AdminToken) -> Value {
    let scopes = [("read", token.scopes.read), ("manage", token.scopes.manage)];
    let scopes = scopes.iter().filter(|(_, has)| *has);
    let scopes: Vec<&str> = scopes.map(|(scope, _)| *scope).collect();
    json!({"name": token.name, "token_fingerprint": token.token.fingerprint(), "scopes": scopes})
}

fn notifications(to: &Notifications) -> Value {
    json!({
        "smtp": to.smtp.as_ref().map(smtp),
        "webhook": to.webhook.as_ref().map(webhook),
    })
}

fn smtp(smtp: &Smtp) -> Value {
    json!({
        "host": smtp.host,
        "port": smtp.port,
        "tls": word(&SMTP_TLS, &smtp.tls),
        "username": smtp.username,
        "password_fingerprint": smtp.password.as_ref().map(Secret::fingerprint),
        "from": smtp.from,
    })
}

fn webhook(webhook: &NotificationWebhook) -> Value {
    let Endpoint { url, is_secret } = &webhook.url;
    let shown = if *is_secret {
        shown_origin(&webhook.url)
    } else {
        url.as_str().to_owned()
    };
    json!({
        "url": shown,
        "url_is_secret": is_secret,
        "secret_fingerprint": webhook.secret.fingerprint(),
    })
}
