//! What is rendered: every family, its labels at 0, and only what is configured.

use super::*;
use crate::domain::{AttemptStatus, DeadReason, FailureReason};

fn name(text: &str) -> SubscriptionName {
    text.parse().unwrap()
}

fn numbered(count: usize) -> Vec<SubscriptionName> {
    (0..count)
        .map(|number| name(&format!("s{number}")))
        .collect()
}

/// The value of a series, none if it is not rendered.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn configured(names: &[&str]) -> Metrics {
    let metrics = Metrics::new();
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    metrics.set_configured(&names);
    metrics
}

#[test]
fn every_label_of_a_configured_subscription_is_there_at_zero() {
    let text = configured(&["billing"]).render();
    let zero = |family: &str, label: &str, label_value: &str| {
        let series =
            format!("sidehook_{family}{{subscription=\"billing\",{label}=\"{label_value}\"}}");
        assert_eq!(value(&text, &series), Some(0.0), "{series}");
    };
    for outcome in ["delivered", "dead", "cancelled", "skipped"] {
        zero("deliveries_total", "outcome", outcome);
    }
    for status in AttemptStatus::ALL {
        zero("attempts_total", "status", status.as_str());
    }
    for reason in FailureReason::ALL {
        zero("attempt_failures_total", "reason", reason.as_str());
    }
    for reason in DeadReason::ALL {
        zero("dead_letters_total", "reason", reason.as_str());
    }
    for outcome in ["accepted", "duplicate", "rejected", "overloaded"] {
        let series = format!("sidehook_events_received_total{{outcome=\"{outcome}\"}}");
        assert_eq!(value(&text, &series), Some(0.0));
    }
    for outcome in ["success", "failure"] {
        let series = format!("sidehook_config_reloads_total{{outcome=\"{outcome}\"}}");
        assert_eq!(value(&text, &series), Some(0.0));
    }
    let count = "sidehook_attempt_duration_seconds_count{subscription=\"billing\"}";
    assert_eq!(value(&text, count), Some(0.0));
}

#[test]
fn every_family_has_help_and_type_once_before_its_samples() {
    let metrics = configured(&["billing", "crm"]);
    let billing = metrics.subscription(&name("billing"));
    billing.set_secret_expiry(Some(Timestamp::from_millis(1_000)));
    billing.set_certificate_expiry(Some(Timestamp::from_millis(1_000)));
    let text = metrics.render();
    for family in families::ALL {
        let head = format!(
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}",
            name = family.name,
            help = family.help,
            kind = family.kind.as_str()
        );
        assert_eq!(text.matches(&head).count(), 1, "{}", family.name);
    }
    let heads = text.lines().filter(|line| line.starts_with("# TYPE "));
    assert_eq!(heads.count(), families::ALL.len());
    assert!(text.lines().all(|line| !line.is_empty()));
    assert!(text.ends_with('\n'));
}

#[test]
fn each_handle_counts_in_its_own_series() {
    let metrics = configured(&["billing", "crm"]);
    let billing = metrics.subscription(&name("billing"));
    for (count, reason) in (1..).zip(FailureReason::ALL) {
        billing.failures(*reason).increment(count);
    }
    for (count, reason) in (1..).zip(DeadReason::ALL) {
        billing.dead_letters(*reason).increment(count);
    }
    billing.attempts(AttemptStatus::Timeout).increment(5);
    billing.pending.set(7.0);
    let text = metrics.render();
    for (count, reason) in (1_u32..).zip(FailureReason::ALL) {
        let series = format!(
            "sidehook_attempt_failures_total{{subscription=\"billing\",reason=\"{}\"}}",
            reason.as_str()
        );
        assert_eq!(value(&text, &series), Some(f64::from(count)));
    }
    for (count, reason) in (1_u32..).zip(DeadReason::ALL) {
        let series = format!(
            "sidehook_dead_letters_total{{subscription=\"billing\",reason=\"{}\"}}",
            reason.as_str()
        );
        assert_eq!(value(&text, &series), Some(f64::from(count)));
    }
    let timeouts = |who| {
        let series =
            format!("sidehook_attempts_total{{subscription=\"{who}\",status=\"timeout\"}}");
        value(&text, &series)
    };
    assert_eq!(timeouts("billing"), Some(5.0));
    assert_eq!(timeouts("crm"), Some(0.0));
    assert_eq!(
        value(
            &text,
            "sidehook_pending_deliveries{subscription=\"billing\"}"
        ),
        Some(7.0)
    );
}

#[test]
fn histograms_fill_the_buckets_at_and_above_a_value() {
    let metrics = configured(&["billing"]);
    let billing = metrics.subscription(&name("billing"));
    billing.attempt_duration.record(0.01);
    metrics.upkeep();
    billing.attempt_duration.record(100.0);
    let text = metrics.render();
    let bucket = |le: &str| {
        let series = format!(
            "sidehook_attempt_duration_seconds_bucket{{subscription=\"billing\",le=\"{le}\"}}"
        );
        value(&text, &series)
    };
    assert_eq!(bucket("0.005"), Some(0.0));
    assert_eq!(bucket("0.01"), Some(1.0));
    assert_eq!(bucket("60"), Some(1.0));
    assert_eq!(bucket("+Inf"), Some(2.0));
    let sum = "sidehook_attempt_duration_seconds_sum{subscription=\"billing\"}";
    assert_eq!(value(&text, sum), Some(100.01));
}

#[test]
fn a_subscription_that_left_the_configuration_is_not_rendered_and_not_kept() {
    let metrics = configured(&["billing", "crm"]);
    metrics.subscription(&name("crm")).delivered.increment(1);
    metrics.set_configured(&[name("billing")]);
    let text = metrics.render();
    assert!(!text.contains("crm"));
    assert!(text.contains("billing"));
    let known = metrics.inner.subscriptions.read().unwrap().known.len();
    assert_eq!(known, 1);
}

#[test]
fn a_removed_subscription_that_is_still_held_counts_on_and_returns() {
    let metrics = configured(&["crm"]);
    let held = metrics.subscription(&name("crm"));
    metrics.set_configured(&[]);
    held.delivered.increment(1);
    let series = "sidehook_deliveries_total{subscription=\"crm\",outcome=\"delivered\"}";
    assert_eq!(value(&metrics.render(), series), None);
    metrics.set_configured(&[name("crm")]);
    held.delivered.increment(1);
    assert_eq!(value(&metrics.render(), series), Some(2.0));
}

#[test]
fn counters_survive_a_reload_that_keeps_their_subscription() {
    let metrics = configured(&["billing"]);
    metrics
        .subscription(&name("billing"))
        .delivered
        .increment(3);
    metrics.set_configured(&[name("billing"), name("crm")]);
    let series = "sidehook_deliveries_total{subscription=\"billing\",outcome=\"delivered\"}";
    assert_eq!(value(&metrics.render(), series), Some(3.0));
}

#[test]
fn an_unconfigured_name_is_not_rendered() {
    let metrics = configured(&[]);
    metrics.subscription(&name("crm")).delivered.increment(1);
    assert!(!metrics.render().contains("crm"));
}

#[test]
fn above_a_thousand_subscriptions_histograms_lose_the_label_also_for_kept_handles() {
    let metrics = Metrics::new();
    let labelled = "sidehook_delivery_delay_seconds_count{subscription=\"s0\"}";
    let shared = "sidehook_delivery_delay_seconds_count";
    metrics.set_configured(&numbered(LABELLED_HISTOGRAMS_MAX));
    let handle = metrics.subscription(&name("s0"));
    handle.delivery_delay.record(1.0);
    let text = metrics.render();
    assert_eq!(value(&text, labelled), Some(1.0));
    assert_eq!(value(&text, shared), None);

    metrics.set_configured(&numbered(LABELLED_HISTOGRAMS_MAX + 1));
    handle.delivery_delay.record(1.0);
    handle.delivery_delay.record(1.0);
    let text = metrics.render();
    assert_eq!(value(&text, labelled), None);
    assert_eq!(value(&text, shared), Some(2.0));
    let counter = "sidehook_deliveries_total{subscription=\"s0\",outcome=\"delivered\"}";
    assert_eq!(value(&text, counter), Some(0.0));
}

#[test]
fn expiries_are_shown_only_while_they_are_known() {
    let metrics = configured(&["billing"]);
    let billing = metrics.subscription(&name("billing"));
    let series = "sidehook_secret_expiry_timestamp_seconds{subscription=\"billing\"}";
    assert_eq!(value(&metrics.render(), series), None);
    billing.set_secret_expiry(Some(Timestamp::from_millis(1_700_000_000_500)));
    assert_eq!(value(&metrics.render(), series), Some(1_700_000_000.5));
    billing.set_secret_expiry(None);
    assert_eq!(value(&metrics.render(), series), None);
}

#[test]
fn reloads_are_counted_and_the_last_success_stays_known() {
    let metrics = Metrics::new();
    metrics.config_loaded(Timestamp::from_millis(1_000));
    metrics.config_reloaded(true, Timestamp::from_millis(2_000));
    metrics.config_reloaded(false, Timestamp::from_millis(3_000));
    let text = metrics.render();
    let reloads = |outcome| {
        value(
            &text,
            &format!("sidehook_config_reloads_total{{outcome=\"{outcome}\"}}"),
        )
    };
    assert_eq!(reloads("success"), Some(1.0));
    assert_eq!(reloads("failure"), Some(1.0));
    assert_eq!(
        value(&text, "sidehook_config_last_reload_successful"),
        Some(0.0)
    );
    assert_eq!(
        value(
            &text,
            "sidehook_config_last_reload_success_timestamp_seconds"
        ),
        Some(2.0)
    );
}

#[test]
fn build_and_process_say_what_runs() {
    let text = Metrics::new().render();
    let build = format!("sidehook_build_info{{version=\"{VERSION}\",revision=\"{REVISION}\"}}");
    assert_eq!(value(&text, &build), Some(1.0));
    for family in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
    ] {
        assert!(value(&text, family).unwrap() >= 1.0, "{family}");
    }
    let started = value(&text, "process_start_time_seconds").unwrap();
    assert!(started > 1_600_000_000.0, "{started}");
}

#[test]
fn relays_in_one_process_do_not_share_metrics() {
    let (one, other) = (Metrics::new(), Metrics::new());
    one.ingest().accepted.increment(1);
    let series = "sidehook_events_received_total{outcome=\"accepted\"}";
    assert_eq!(value(&one.render(), series), Some(1.0));
    assert_eq!(value(&other.render(), series), Some(0.0));
}

#[tokio::test]
async fn tasks_are_counted_until_they_end() {
    let metrics = Metrics::new();
    let tasks = || {
        let text = metrics.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("sidehook_runtime_tasks "));
        line.unwrap().parse::<f64>().unwrap()
    };
    let before = tasks();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(async { ended.await.ok() });
    assert_eq!(tasks(), before + 1.0);
    drop(end);
    task.await.unwrap();
    assert_eq!(tasks(), before);
}
