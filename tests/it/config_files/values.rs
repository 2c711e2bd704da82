//! What right files mean: sections, fields, defaults, includes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sidehook::config::{
    Config, Durability, Environment, ListenAddress, Loaded, LogFormat, LogLevel, Retention,
    SmtpTls, StoreConfig, WhenDisabled, load,
};
use sidehook::domain::{AutoDisable, Order, RateLimit, Retry, WhenStuck};
use sidehook::egress::TlsVersion;
use sidehook::signing::{KeyForm, Scheme};

use super::{environment, load_text};

fn valid(name: &str) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid");
    load(&folder.join(name), &environment())
        .map_err(|error| error.to_string())
        .unwrap()
}

#[test]
fn what_is_left_out_has_the_built_in_defaults() {
    for name in ["minimal.yaml", "nulls.yaml"] {
        assert_eq!(valid(name).config, Config::default(), "{name}");
    }
}

#[test]
fn the_example_says_what_the_defaults_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml");
    let loaded = load(&path, &Environment::default())
        .map_err(|error| error.to_string())
        .unwrap();
    assert_eq!(loaded.warnings[..], []);
    assert!(loaded.config.subscriptions.len() >= 2);
    assert!(
        loaded
            .config
            .subscriptions
            .values()
            .all(|subscription| !subscription.active)
    );
    let subscriptions = BTreeMap::new();
    assert_eq!(
        Config {
            subscriptions,
            ..loaded.config
        },
        Config::default()
    );
}

/// `include` of the file that the API will make is nothing to warn of; of another it is.
#[test]
fn the_shipped_configuration_of_the_unit_has_nothing_to_warn_of() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/config.yaml");
    let loaded = load(&path, &Environment::default()).unwrap();
    assert_eq!(loaded.warnings[..], []);
    let written = Some(Path::new("/var/lib/sidehook/subscriptions.yaml"));
    assert_eq!(loaded.config.admin.write_to.as_deref(), written);
    assert_eq!(loaded.config.store.path, Path::new("/var/lib/sidehook"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let warned = |include: &str| {
        let text = format!(
            "admin: {{write_to: state/api.yaml}}\ninclude: [{include}]\nsubscriptions: {{}}\n"
        );
        std::fs::write(&path, text).unwrap();
        load(&path, &Environment::default())
            .unwrap()
            .warnings
            .iter()
            .count()
    };
    assert_eq!(warned("state/*.yaml"), 0);
    assert_eq!(warned("'./state/api.yaml'"), 0);
    assert_eq!(warned("state/*.yaml, state/others-*.yaml"), 1);
}

#[test]
fn those_who_operate_it_and_are_told_are_read() {
    let Loaded { config, .. } = valid("operation.yaml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid");
    let tokens: Vec<_> = config.admin.tokens.iter().collect();
    assert_eq!(
        (tokens[0].name.as_str(), tokens[0].token.expose()),
        (
            "Deploy pipeline",
            b"0123456789abcdef0123456789abcdef".as_slice()
        )
    );
    assert!(tokens[0].scopes.read && tokens[0].scopes.manage);
    assert!(tokens[1].scopes.read && !tokens[1].scopes.manage);
    assert!(!config.admin.edit_config);
    let write_to = folder.join("./api.d/subscriptions.yaml");
    assert_eq!(config.admin.write_to, Some(write_to));
    assert_eq!(config.admin.secrets_dir, folder.join("secrets"));
    assert_eq!(
        config.admin.allowed_hosts,
        ["relay.internal", "10.0.0.7", "[fd00::1]"]
    );
    let smtp = config.notifications.smtp.as_ref().unwrap();
    assert_eq!(
        (smtp.host.as_str(), smtp.port, smtp.tls),
        ("localhost", 25, SmtpTls::None)
    );
    assert_eq!(
        (smtp.username.as_deref(), smtp.from.as_str()),
        (Some("sidehook"), "sidehook@example.com")
    );
    assert_eq!(smtp.password.as_ref().unwrap().expose(), b"short");
    let webhook = config.notifications.webhook.as_ref().unwrap();
    assert_eq!(webhook.url.url.path(), "/sidehook");
    assert!(webhook.secret.expose().starts_with(b"whsec_"));
    let told = |name: &str| {
        let subscription = &config.subscriptions[&name.parse().unwrap()];
        (subscription.notify.join(" "), subscription.notify_after)
    };
    assert_eq!(told("told"), ("ops@example.com".to_owned(), 1));
    assert_eq!(told("quiet"), (String::new(), 5));
    assert_eq!(
        told("other"),
        ("billing@example.com ops@example.com".to_owned(), 5)
    );
}

#[test]
fn the_port_of_a_mail_server_follows_its_protection() {
    for (tls, port) in [("starttls", 587), ("implicit", 465), ("none", 25)] {
        let smtp = format!("{{host: localhost, tls: {tls}, from: a@example.com}}");
        let text = format!("notifications: {{smtp: {smtp}}}\nsubscriptions: {{}}\n");
        let config = load_text(&text).unwrap().config;
        assert_eq!(config.notifications.smtp.unwrap().port, port, "{tls}");
    }
}

/// A subscription of the example with the fields of `defaults` only is a built-in one.
#[test]
fn the_defaults_of_the_example_are_the_built_in_ones() {
    let example =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml"))
            .unwrap();
    let (head, _) = example.split_once("\nsubscriptions:").unwrap();
    let own = "\nsubscriptions:\n  a: {url: \"https://a.example.com\", events: [\"*\"]}\n";
    let with_example = load_text(&format!("{head}{own}")).unwrap();
    let without = load_text(own).unwrap();
    assert_eq!(with_example.config, without.config);
    for key in [
        "active",
        "when_disabled",
        "signature",
        "headers",
        "forward_headers",
        "method",
        "timeout",
        "retry",
        "give_up_on",
        "order",
        "when_stuck",
        "concurrency",
        "rate_limit",
        "max_pending",
        "auto_disable",
        "notify",
        "notify_after",
        "http2",
        "tls",
    ] {
        assert!(
            head.contains(&format!("\n  {key}: ")),
            "defaults.{key} is not in the example"
        );
    }
}

#[test]
fn every_section_is_read() {
    let Loaded { config, .. } = valid("everything.yaml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid");
    assert_eq!(
        config.listen.events,
        [
            ListenAddress::Tcp("0.0.0.0:0".to_owned()),
            ListenAddress::Unix(folder.join("run/events.sock")),
            ListenAddress::Systemd("events".to_owned()),
        ]
    );
    assert_eq!(
        config.listen.admin,
        ListenAddress::Tcp("[::1]:0".to_owned())
    );
    assert_eq!(
        config.listen.metrics,
        Some(ListenAddress::Tcp("0.0.0.0:9100".to_owned()))
    );
    assert_eq!(
        (config.ingest.max_body, config.ingest.tokens.len()),
        (65_536, 1)
    );
    assert_eq!(config.ingest.type_pointer, None);
    assert_eq!(config.ingest.id_pointer.as_deref(), Some("/event_id"));
    assert_eq!(
        config.ingest.key_pointer.as_deref(),
        Some("/data/customer~1id")
    );
    assert_eq!(
        (config.ingest.dedup_window, config.ingest.dedup_max),
        (Duration::from_secs(432_000), 10)
    );
    let store = StoreConfig {
        path: folder.join("data"),
        durability: Durability::Relaxed,
        max_pending: 2 << 30,
        retention: Retention {
            delivered: Duration::from_secs(3600),
            dead: Duration::from_secs(30 * 86_400),
            max_size: 1 << 30,
        },
        removed_after: Duration::from_secs(86_400),
    };
    assert_eq!(config.store, store);
    assert_eq!(
        config.network.allow_private,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert!(config.network.allow_metadata);
    assert_eq!(config.network.ports, [443]);
    assert_eq!(
        (config.log.format, config.log.level),
        (LogFormat::Json, LogLevel::Debug)
    );
}

#[test]
fn every_field_of_a_subscription_is_read() {
    let Loaded { config, .. } = valid("everything.yaml");
    let billing = &config.subscriptions[&"billing".parse().unwrap()];
    assert_eq!(billing.title.as_deref(), Some("123"));
    assert_eq!(
        billing.description.as_deref(),
        Some("Invoices to the partner")
    );
    assert_eq!(
        billing.url.as_ref().unwrap().url.as_str(),
        "http://[::1]:9000/hooks?a=b"
    );
    assert!(billing.events.matches("invoice.paid") && billing.events.matches("quote:x"));
    assert!(!billing.events.matches("invoice.draft"));
    assert_eq!(billing.secret.as_ref().unwrap().expose(), b"hunter2hunter2");
    let (previous, until) = &billing.previous_secrets[0];
    assert_eq!(
        (previous.expose(), until.to_string().as_str()),
        (b"hunter1hunter1".as_slice(), "2027-01-31T11:00:00.000Z")
    );
    let svix = Scheme::Standard {
        prefix: "svix".to_owned(),
        key: KeyForm::Text,
    };
    assert_eq!(billing.signature, [Scheme::Github, svix]);
    let headers: Vec<_> = billing
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(headers, [("x-team", "a: b"), ("x-other", "c")]);
    assert_eq!(billing.forward_headers, ["traceparent"]);
    assert_eq!(
        billing.retry,
        Retry::schedule(vec![Duration::from_secs(60), Duration::from_secs(300)]).with_jitter(0.0)
    );
    assert_eq!(
        (billing.concurrency, billing.max_pending, billing.http2),
        (1, 1 << 20, false)
    );
    assert!(billing.active && billing.locked && billing.when_disabled == WhenDisabled::Skip);
    assert_eq!(billing.min_tls_version, TlsVersion::Tls13);
    assert!(
        billing
            .roots
            .as_ref()
            .unwrap()
            .pem()
            .starts_with(b"-----BEGIN CERTIFICATE-----")
    );
}

#[test]
fn the_limits_of_deliveries_are_read() {
    let Loaded { config, .. } = valid("everything.yaml");
    let of = |name: &str| &config.subscriptions[&name.parse().unwrap()];
    let (billing, off) = (of("billing"), of("off"));
    assert_eq!(billing.give_up_on, [400, 501]);
    assert_eq!(off.give_up_on, [404]);
    assert_eq!(
        (billing.order, billing.when_stuck),
        (Order::Key, WhenStuck::Skip)
    );
    assert_eq!(
        (off.order, off.when_stuck),
        (Order::Strict, WhenStuck::Block)
    );
    assert_eq!(billing.rate_limit, None);
    let limit = RateLimit {
        attempts: 5000,
        per: Duration::from_secs(60),
    };
    assert_eq!(off.rate_limit, Some(limit));
    let at_once = AutoDisable::Failures {
        failures: 3,
        lasting: Duration::ZERO,
    };
    assert_eq!(billing.auto_disable, at_once);
    assert_eq!(off.auto_disable, AutoDisable::Dead(7));
}

#[test]
fn own_values_replace_defaults_and_null_removes_them() {
    let Loaded { config, .. } = valid("everything.yaml");
    let of = |name: &str| &config.subscriptions[&name.parse().unwrap()];
    assert_eq!(
        (of("billing").method.as_str(), of("off").method.as_str()),
        ("POST", "PUT")
    );
    assert_eq!(
        (of("billing").timeout, of("off").timeout),
        (Duration::from_secs(2), Duration::from_secs(2))
    );
    assert_eq!(
        (of("billing").headers.len(), of("off").headers[0].0.as_str()),
        (2, "x-default")
    );
}

#[test]
fn a_url_from_a_secret_reference_is_marked() {
    let Loaded { config, .. } = valid("everything.yaml");
    let off = &config.subscriptions[&"off".parse().unwrap()];
    let url = off.url.as_ref().unwrap();
    assert!(url.is_secret && url.url.path() == "/capability");
}

#[test]
fn included_files_have_subscriptions_and_paths_of_their_own() {
    let loaded = valid("everything.yaml");
    let (config, files) = (&loaded.config, loaded.files());
    let included = &config.subscriptions[&"included".parse().unwrap()];
    assert!(included.headers[0].1.is_sensitive());
    assert!(included.roots.is_some());
    for watched in [
        "everything.yaml",
        "conf.d/more.yaml",
        "conf.d/../include/ca.pem",
        "include/ca.pem",
    ] {
        assert!(
            files.iter().any(|file| file.ends_with(watched)),
            "{watched}"
        );
    }
}

#[test]
fn all_styles_of_yaml_are_read() {
    let Loaded { config, .. } = valid("yaml_styles.yaml");
    assert_eq!(
        (config.log.format, config.log.level),
        (LogFormat::Json, LogLevel::Info)
    );
    let long = &config.subscriptions[&"long".parse().unwrap()];
    assert_eq!(
        long.description.as_deref(),
        Some("two\nlines: *not an alias\n")
    );
}

/// As other programs write it: escapes of UTF-16, tabs, slashes that are escaped.
#[test]
fn json_is_read_with_all_its_escapes() {
    let text = r#"{
	"subscriptions": {
		"a": {"active": false, "title": "\ud83d\ude00 \u00e9 \/ \uD834\uDD1E\"", "url": "https:\/\/a.example\/x","events":["x"]}
	}
}"#;
    let config = load_text(text).unwrap().config;
    let subscription = config.subscriptions.values().next().unwrap();
    let fields = subscription.definition.fields();
    assert_eq!(fields["title"], "\u{1f600} é / \u{1d11e}\"");
    assert_eq!(fields["url"], "https://a.example/x");
    // Only double quotes have escapes, and places are those of the file.
    let error =
        load_text("subscriptions:\n  a: {active: false, title: \"\\ud83d\\ude00\", b: \"\\q\"}\n");
    let problems = error.unwrap_err().0;
    assert_eq!((problems[0].line, problems[0].column), (2, 49));
    let message = &problems[0].message;
    assert!(message.ends_with("begun at line 2 column 48)"), "{message}");
}
