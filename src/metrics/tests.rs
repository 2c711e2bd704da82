//! Rendered metrics: every family, its labels at 0, and only those that are configured.

use super::*;
use crate::domain::{AttemptStatus, Condition, DeadReason, FailureReason};
use crate::metrics::histograms::OWN_HISTOGRAMS_MAX;

/// Series of a configured subscription for which nothing has happened, as documented in docs/operations.md.
const IDLE_SERIES: usize = 12;

fn name(text: &str) -> SubscriptionName {
    text.parse().unwrap()
}

fn numbered(count: usize) -> Vec<SubscriptionName> {
    (0..count)
        .map(|number| name(&format!("s{number}")))
        .collect()
}

/// The value of a series, `None` if it is not rendered.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn configured(names: &[&str]) -> Metrics {
    let metrics = Metrics::new();
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    metrics.set_configured(&names, Histograms::Auto);
    metrics
}

/// The lines of one subscription.
fn own<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let label = format!("subscription=\"{name}\"");
    text.lines().filter(|line| line.contains(&label)).collect()
}

#[test]
fn what_alerts_wait_for_is_there_at_zero_and_the_rest_once_it_happened() {
    let metrics = configured(&["billing"]);
    let text = metrics.render();
    let zero = |series: String| assert_eq!(value(&text, &series), Some(0.0), "{series}");
    for outcome in ["delivered", "dead"] {
        zero(format!(
            "sidehook_deliveries_total{{subscription=\"billing\",outcome=\"{outcome}\"}}"
        ));
    }
    for status in AttemptStatus::ALL {
        let status = status.as_str();
        zero(format!(
            "sidehook_attempts_total{{subscription=\"billing\",status=\"{status}\"}}"
        ));
    }
    for gauge in [
        "pending_deliveries",
        "oldest_pending_age_seconds",
        "dead_deliveries",
        "in_flight_attempts",
        "consecutive_failures",
        "subscription_enabled",
    ] {
        zero(format!("sidehook_{gauge}{{subscription=\"billing\"}}"));
    }
    assert_eq!(own(&text, "billing").len(), IDLE_SERIES);
    for reason in FailureReason::ALL {
        let reason = reason.as_str();
        zero(format!(
            "sidehook_all_attempt_failures_total{{reason=\"{reason}\"}}"
        ));
    }
    for reason in DeadReason::ALL {
        let reason = reason.as_str();
        zero(format!(
            "sidehook_all_dead_letters_total{{reason=\"{reason}\"}}"
        ));
    }
    for outcome in ["accepted", "duplicate", "rejected", "overloaded"] {
        zero(format!(
            "sidehook_events_received_total{{outcome=\"{outcome}\"}}"
        ));
    }
    for outcome in ["success", "failure"] {
        zero(format!(
            "sidehook_config_reloads_total{{outcome=\"{outcome}\"}}"
        ));
    }
}

/// The number of series documented in docs/operations.md, so that capacity can be planned with it.
#[test]
fn the_documented_numbers_of_series_are_those_that_are_shown() {
    let metrics = configured(&["billing"]);
    let billing = metrics.subscription(&name("billing"));
    let page = include_str!("../../docs/operations.md");
    let idle = format!("An idle subscription has {IDLE_SERIES} series");
    assert!(page.contains(&idle), "{idle}");
    assert_eq!(own(&metrics.render(), "billing").len(), IDLE_SERIES);
    billing.attempt_duration.record(0.1);
    billing.delivery_delay.record(0.1);
    let histograms = own(&metrics.render(), "billing").len() - IDLE_SERIES;
    let said = format!("{histograms} more");
    assert!(page.contains(&said), "{said}");
    for reason in FailureReason::ALL {
        billing.failed(*reason);
    }
    for reason in DeadReason::ALL {
        billing.given_up(*reason);
    }
    for count in [
        &billing.cancelled,
        &billing.skipped,
        &billing.filter_errors,
        &billing.own_lacks,
    ] {
        count.increment(1);
    }
    billing.held.set(1.0);
    billing.blocked.set(1.0);
    for condition in Condition::ALL {
        billing.set_condition(*condition);
    }
    billing.set_secret_expiry(Some(Timestamp::from_millis(1_000)));
    billing.set_certificate_expiry(Some(Timestamp::from_millis(1_000)));
    let text = metrics.render();
    let all = own(&text, "billing");
    let said = format!("at most {}", all.len() - histograms);
    assert!(page.contains(&said), "{said}");
    let series: BTreeSet<_> = all
        .iter()
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(series.len(), all.len(), "each once");
}

#[test]
fn what_is_shown_once_it_happened_stays_when_it_is_over() {
    let metrics = configured(&["billing"]);
    let billing = metrics.subscription(&name("billing"));
    let held = "sidehook_held_deliveries{subscription=\"billing\"}";
    billing.held.set(0.0);
    assert_eq!(value(&metrics.render(), held), None);
    billing.held.set(3.0);
    assert_eq!(value(&metrics.render(), held), Some(3.0));
    billing.held.set(0.0);
    let text = metrics.render();
    assert!(text.contains(&format!("{held} 0\n")), "without a sign");
    billing.pending.set(1.0);
    billing.pending.set(0.0);
    assert!(!metrics.render().contains("-0"));
}

#[test]
fn totals_by_reason_keep_what_removed_subscriptions_had() {
    let metrics = configured(&["billing", "crm"]);
    for who in ["billing", "crm"] {
        let metrics = metrics.subscription(&name(who));
        metrics.failed(FailureReason::Dns);
        metrics.given_up(DeadReason::Overflow);
    }
    metrics.set_configured(&[name("billing")], Histograms::Auto);
    let text = metrics.render();
    for (series, expected) in [
        ("all_attempt_failures_total{reason=\"dns\"}", 2.0),
        ("all_dead_letters_total{reason=\"overflow\"}", 2.0),
        (
            "dead_letters_total{subscription=\"billing\",reason=\"overflow\"}",
            1.0,
        ),
        (
            "deliveries_total{subscription=\"billing\",outcome=\"dead\"}",
            1.0,
        ),
    ] {
        let series = format!("sidehook_{series}");
        assert_eq!(value(&text, &series), Some(expected), "{series}");
    }
}

#[test]
fn every_family_has_help_and_type_once_before_its_samples() {
    let metrics = configured(&["billing", "crm"]);
    let billing = metrics.subscription(&name("billing"));
    billing.set_secret_expiry(Some(Timestamp::from_millis(1_000)));
    billing.set_certificate_expiry(Some(Timestamp::from_millis(1_000)));
    billing.failed(FailureReason::Dns);
    billing.given_up(DeadReason::Exhausted);
    billing.filter_errors.increment(1);
    billing.own_lacks.increment(1);
    billing.held.set(1.0);
    billing.blocked.set(1.0);
    billing.attempt_duration.record(0.1);
    billing.delivery_delay.record(0.1);
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
        (0..count).for_each(|_| billing.failed(*reason));
    }
    for (count, reason) in (1..).zip(DeadReason::ALL) {
        (0..count).for_each(|_| billing.given_up(*reason));
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
    metrics.set_configured(&[name("billing")], Histograms::Auto);
    let text = metrics.render();
    assert!(!text.contains("crm"));
    assert!(text.contains("billing"));
    let known = metrics.inner.subscriptions.read().known.len();
    assert_eq!(known, 1);
}

#[test]
fn a_removed_subscription_that_is_still_held_counts_on_and_returns() {
    let metrics = configured(&["crm"]);
    let held = metrics.subscription(&name("crm"));
    metrics.set_configured(&[], Histograms::Auto);
    held.delivered.increment(1);
    let series = "sidehook_deliveries_total{subscription=\"crm\",outcome=\"delivered\"}";
    assert_eq!(value(&metrics.render(), series), None);
    metrics.set_configured(&[name("crm")], Histograms::Auto);
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
    metrics.set_configured(&[name("billing"), name("crm")], Histograms::Auto);
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
    metrics.set_configured(&numbered(OWN_HISTOGRAMS_MAX), Histograms::Auto);
    let handle = metrics.subscription(&name("s0"));
    handle.delivery_delay.record(1.0);
    let text = metrics.render();
    assert_eq!(value(&text, labelled), Some(1.0));
    assert_eq!(value(&text, shared), None);

    metrics.set_configured(&numbered(OWN_HISTOGRAMS_MAX + 1), Histograms::Auto);
    handle.delivery_delay.record(1.0);
    handle.delivery_delay.record(1.0);
    let text = metrics.render();
    assert_eq!(value(&text, labelled), None);
    assert_eq!(value(&text, shared), Some(2.0));
    let counter = "sidehook_deliveries_total{subscription=\"s0\",outcome=\"delivered\"}";
    assert_eq!(value(&text, counter), Some(0.0));
}

#[test]
fn histograms_are_where_the_configuration_says_also_for_kept_handles() {
    let metrics = configured(&["billing"]);
    let billing = metrics.subscription(&name("billing"));
    let labelled = "sidehook_attempt_duration_seconds_count{subscription=\"billing\"}";
    let shared = "sidehook_attempt_duration_seconds_count";
    for (histograms, own, together) in [
        (Histograms::Shared, None, Some(1.0)),
        (Histograms::None, None, None),
        (Histograms::PerSubscription, Some(1.0), None),
        (Histograms::None, None, None),
        (Histograms::Auto, Some(2.0), None),
        (Histograms::Shared, None, Some(2.0)),
    ] {
        metrics.set_configured(&[name("billing")], histograms);
        billing.attempt_duration.record(1.0);
        let text = metrics.render();
        assert_eq!(value(&text, labelled), own, "{histograms:?}");
        assert_eq!(value(&text, shared), together, "{histograms:?}");
        let has = text.contains("duration_seconds_bucket{subscription")
            || text.contains("# TYPE sidehook_attempt_duration");
        assert_eq!(has, histograms != Histograms::None, "{histograms:?}");
    }
    let many = numbered(OWN_HISTOGRAMS_MAX + 1);
    metrics.set_configured(&many, Histograms::PerSubscription);
    metrics.subscription(&name("s0")).delivery_delay.record(1.0);
    let labelled = "sidehook_delivery_delay_seconds_count{subscription=\"s0\"}";
    assert_eq!(value(&metrics.render(), labelled), Some(1.0));
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
