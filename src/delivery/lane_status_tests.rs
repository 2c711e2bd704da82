//! The state of a subscription: holding, pauses, counting, changes of the file, and when that is recorded.

use super::*;
use crate::domain::EventId;
use DisabledReason::{Endpoint, Failing, Gone, Manual};

const MINUTE: Duration = Duration::from_secs(60);

const ACTIVE: Option<Defined> = defined(true, 7);
const INACTIVE: Option<Defined> = defined(false, 7);
const MOVED: Option<Defined> = defined(true, 8);

const fn defined(active: bool, endpoint: u64) -> Option<Defined> {
    Some(Defined {
        active,
        endpoint: Some(endpoint),
        definition: 1,
    })
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn active() -> LaneStatus {
    let mut lane_status = LaneStatus::new(SubscriptionState::default(), at(0));
    lane_status.follow(ACTIVE, at(0));
    lane_status.tend(at(0));
    lane_status
}

fn is_stopped(lane_status: &LaneStatus, now: Timestamp) -> bool {
    lane_status.slots(4, now) == 0
}

#[test]
fn time_held_does_not_count_towards_the_age() {
    let mut lane_status = active();
    lane_status.follow(INACTIVE, at(100));
    assert!(is_stopped(&lane_status, at(100)));
    assert_eq!(lane_status.age(at(40), at(500)), MINUTE);
    lane_status.follow(ACTIVE, at(1000));
    assert!(!is_stopped(&lane_status, at(1000)));
    assert_eq!(lane_status.age(at(40), at(1060)), 2 * MINUTE);
}

#[test]
fn whatever_holds_it_keeps_the_beginning_and_all_of_it_has_to_end() {
    let mut lane_status = active();
    assert!(lane_status.disable(Failing, at(100)));
    lane_status.follow(INACTIVE, at(200));
    lane_status.follow(None, at(300));
    lane_status.follow(INACTIVE, at(400));
    assert_eq!(lane_status.state().held_since, Some(at(100)));
    assert!(lane_status.enable(at(500)));
    assert_eq!(lane_status.state().held_since, Some(at(100)));
    lane_status.follow(ACTIVE, at(600));
    assert_eq!(lane_status.state().held_since, None);
    assert_eq!(
        lane_status.age(at(0), at(660)),
        160 * Duration::from_secs(1)
    );
}

#[test]
fn what_is_gone_from_the_file_is_so_since_it_was_first_noticed() {
    let mut lane_status = active();
    lane_status.follow(None, at(100));
    lane_status.follow(None, at(200));
    let state = lane_status.unwritten(at(200)).unwrap();
    let mut again = LaneStatus::new(state, at(300));
    again.follow(None, at(300));
    assert_eq!(again.state().removed_at, Some(at(100)));
    assert_eq!(again.unwritten(at(300)), None);
    again.follow(ACTIVE, at(400));
    assert_eq!(again.state().removed_at, None);
    assert!(!again.is_held());
}

#[test]
fn a_held_one_that_is_removed_is_recorded_as_removed() {
    let mut lane_status = active();
    lane_status.follow(INACTIVE, at(100));
    lane_status.tend(at(100));
    lane_status.follow(None, at(200));
    assert_eq!(lane_status.tend(at(200)).unwrap().removed_at, Some(at(200)));
}

#[test]
fn a_new_url_and_becoming_active_enable_what_the_endpoint_brought_about() {
    for reason in [Gone, Endpoint, Failing] {
        let mut lane_status = active();
        lane_status.disable(reason, at(10));
        assert!(!lane_status.follow(ACTIVE, at(20)), "nothing has changed");
        assert!(lane_status.is_held());
        assert!(lane_status.follow(MOVED, at(30)), "{reason:?}");
        assert!(!lane_status.is_held());

        lane_status.disable(reason, at(40));
        assert!(!lane_status.follow(defined(false, 8), at(50)));
        assert!(lane_status.follow(MOVED, at(60)), "{reason:?}");
        assert!(!lane_status.is_held());
    }
}

#[test]
fn what_somebody_disabled_only_somebody_enables() {
    let mut lane_status = active();
    lane_status.disable(Manual, at(10));
    lane_status.follow(INACTIVE, at(20));
    lane_status.follow(MOVED, at(30));
    assert_eq!(lane_status.state().disabled, Some((Manual, at(10))));
    assert!(lane_status.enable(at(40)));
    assert!(!lane_status.enable(at(41)), "it is enabled already");
    assert!(!lane_status.is_held());
}

#[test]
fn somebody_s_reason_replaces_another_and_none_replaces_it() {
    let mut lane_status = active();
    assert!(lane_status.disable(Gone, at(10)));
    assert!(!lane_status.disable(Manual, at(20)));
    assert!(!lane_status.disable(Failing, at(30)));
    assert_eq!(lane_status.state().disabled, Some((Manual, at(10))));
}

#[test]
fn an_endpoint_moves_only_from_one_that_was_known() {
    let mut lane_status = LaneStatus::new(SubscriptionState::default(), at(0));
    lane_status.disable(Gone, at(0));
    assert!(!lane_status.follow(ACTIVE, at(1)));
    let no_url = Some(Defined {
        active: false,
        endpoint: None,
        definition: 1,
    });
    assert!(!lane_status.follow(no_url, at(2)));
    assert!(lane_status.is_at(7), "the last one is remembered");
}

#[test]
fn a_new_url_is_noticed_after_a_restart() {
    let mut lane_status = active();
    lane_status.disable(Gone, at(10));
    let state = lane_status.unwritten(at(10)).unwrap();
    let mut again = LaneStatus::new(state.clone(), at(20));
    assert!(!again.follow(ACTIVE, at(20)));
    assert!(again.is_held());
    let mut elsewhere = LaneStatus::new(state, at(20));
    assert!(elsewhere.follow(MOVED, at(20)));
    assert!(!elsewhere.is_held());
}

#[test]
fn a_pause_ends_by_itself_and_does_not_count_towards_the_age() {
    let mut lane_status = active();
    lane_status.pause(at(100), MINUTE);
    assert!(is_stopped(&lane_status, at(100)));
    lane_status.tend(at(159));
    assert!(is_stopped(&lane_status, at(159)));
    lane_status.tend(at(160));
    assert!(!is_stopped(&lane_status, at(160)));
    assert_eq!(lane_status.age(at(40), at(220)), 2 * MINUTE);
}

#[test]
fn a_shorter_pause_does_not_shorten_a_longer_one() {
    let mut lane_status = active();
    lane_status.pause(at(0), 2 * MINUTE);
    lane_status.pause(at(10), MINUTE);
    lane_status.tend(at(119));
    assert!(is_stopped(&lane_status, at(119)));
    lane_status.pause(at(119), Duration::ZERO);
    lane_status.tend(at(120));
    assert!(!is_stopped(&lane_status, at(120)));
}

#[test]
fn a_new_url_lifts_a_pause_and_the_rest_of_it_counts_towards_the_age() {
    let mut lane_status = active();
    lane_status.pause(at(0), 60 * MINUTE);
    lane_status.follow(MOVED, at(60));
    assert!(!is_stopped(&lane_status, at(60)));
    assert_eq!(lane_status.age(at(0), at(120)), MINUTE);
}

#[test]
fn holding_ends_a_pause_and_no_pause_begins_while_held() {
    let mut lane_status = active();
    lane_status.pause(at(0), 60 * MINUTE);
    lane_status.disable(Manual, at(60));
    lane_status.pause(at(70), 60 * MINUTE);
    assert_eq!(lane_status.age(at(0), at(120)), Duration::ZERO);
    lane_status.enable(at(120));
    assert!(!is_stopped(&lane_status, at(120)));
    assert_eq!(lane_status.age(at(0), at(180)), MINUTE);
}

#[test]
fn enabling_and_a_new_url_end_probing() {
    let probing = || {
        let mut lane_status = active();
        for number in 0..5 {
            let event = EventId::new(at(0), [number; 10]);
            let (probe, failure) = (lane_status.probe(), Some(FailureReason::Connect));
            probe.ended(event, probe.epoch(), failure, 4, at(10));
        }
        assert!(is_stopped(&lane_status, at(10)));
        assert!(lane_status.alarm(at(10)).is_some());
        lane_status
    };
    let mut lane_status = probing();
    lane_status.disable(Manual, at(10));
    lane_status.tend(at(10));
    assert_eq!(lane_status.alarm(at(10)), None, "nothing to wait for");
    lane_status.enable(at(10));
    assert_eq!(lane_status.slots(4, at(10)), 4);
    let mut lane_status = probing();
    lane_status.follow(MOVED, at(10));
    assert_eq!(lane_status.slots(4, at(10)), 4);
}

#[test]
fn failures_of_the_endpoint_are_counted_until_a_success_or_an_enabling() {
    let mut lane_status = active();
    lane_status.count(Some(FailureReason::Http5xx), at(5));
    lane_status.count(Some(FailureReason::Blocked), at(6));
    lane_status.count(Some(FailureReason::Timeout), at(7));
    lane_status.count_dead();
    let counts = |lane_status: &LaneStatus| {
        let state = lane_status.state();
        (
            state.consecutive_failures,
            state.first_failure_at,
            state.consecutive_dead,
        )
    };
    assert_eq!(counts(&lane_status), (2, Some(at(5)), 1));
    lane_status.count(None, at(8));
    assert_eq!(counts(&lane_status), (0, None, 0));
    lane_status.count(Some(FailureReason::Connect), at(9));
    lane_status.count_dead();
    lane_status.disable(Failing, at(10));
    assert_eq!(counts(&lane_status), (1, Some(at(9)), 1));
    lane_status.enable(at(11));
    assert_eq!(counts(&lane_status), (0, None, 0));
}

#[test]
fn failing_is_told_once_and_so_is_its_end() {
    let mut lane_status = active();
    assert_eq!(lane_status.status_change(false, at(1)), None);
    assert_eq!(
        lane_status.status_change(true, at(2)),
        Some(StatusChange::Failing)
    );
    assert_eq!(lane_status.status_change(true, at(500)), None);
    assert_eq!(
        lane_status.status_change(false, at(501)),
        Some(StatusChange::Recovered)
    );
    assert_eq!(lane_status.status_change(false, at(502)), None);
    assert_eq!(
        lane_status.status_change(true, at(503)),
        Some(StatusChange::Failing)
    );
}

#[test]
fn an_endpoint_that_works_now_and_then_is_told_of_once_a_minute() {
    let mut lane_status = active();
    assert_eq!(
        lane_status.status_change(true, at(0)),
        Some(StatusChange::Failing)
    );
    assert_eq!(
        lane_status.status_change(false, at(1)),
        Some(StatusChange::Recovered)
    );
    assert_eq!(lane_status.status_change(true, at(2)), None);
    assert_eq!(lane_status.status_change(false, at(3)), None);
    assert_eq!(lane_status.status_change(true, at(59)), None);
    assert_eq!(
        lane_status.status_change(true, at(60)),
        Some(StatusChange::Failing)
    );
}

#[test]
fn counts_are_recorded_at_most_once_a_second() {
    let mut lane_status = active();
    lane_status.count(Some(FailureReason::Http5xx), at(10));
    assert_eq!(lane_status.tend(at(10)).unwrap().consecutive_failures, 1);
    assert_eq!(lane_status.alarm(at(10)), None);
    lane_status.count(Some(FailureReason::Http5xx), at(10));
    assert_eq!(lane_status.tend(at(10)), None);
    assert_eq!(lane_status.alarm(at(10)), Some(at(11)));
    assert_eq!(lane_status.tend(at(11)).unwrap().consecutive_failures, 2);
    assert_eq!(lane_status.unwritten(at(11)), None);
}

#[test]
fn disabling_is_recorded_at_once_with_the_endpoint() {
    let mut lane_status = active();
    lane_status.count(Some(FailureReason::Http5xx), at(10));
    lane_status.tend(at(10));
    lane_status.count(Some(FailureReason::Http5xx), at(10));
    lane_status.disable(Gone, at(10));
    let state = lane_status.tend(at(10)).unwrap();
    assert_eq!(state.held_since, Some(at(10)));
    assert_eq!((state.disabled, state.endpoint), (Some((Gone, at(10))), 7));
    lane_status.disable(Manual, at(10));
    let state = lane_status.tend(at(10)).unwrap();
    assert_eq!(state.disabled, Some((Manual, at(10))));
}

#[test]
fn an_active_one_that_succeeds_has_nothing_to_record() {
    let mut lane_status = active();
    lane_status.count(None, at(1));
    lane_status.count(None, at(2));
    lane_status.follow(ACTIVE, at(3));
    assert_eq!(lane_status.alarm(at(3)), None);
    assert_eq!(lane_status.unwritten(at(3)), None);
}

#[test]
fn a_pause_goes_on_after_a_restart_unless_the_clock_was_set_back() {
    let mut lane_status = active();
    lane_status.pause(at(1000), MINUTE);
    let state = lane_status.unwritten(at(1000)).unwrap();
    let mut again = LaneStatus::new(state.clone(), at(1030));
    assert!(is_stopped(&again, at(1030)));
    assert_eq!(again.alarm(at(1030)), Some(at(1060)));
    again.tend(at(1060));
    assert!(!is_stopped(&again, at(1060)));
    assert!(!is_stopped(
        &LaneStatus::new(state.clone(), at(1061)),
        at(1061)
    ));
    assert!(!is_stopped(&LaneStatus::new(state, at(500)), at(500)));
}

#[test]
fn it_is_recorded_at_once_when_it_was_first_seen_and_when_it_last_changed() {
    let seen = |lane_status: &LaneStatus| {
        (
            lane_status.state().created_at,
            lane_status.state().updated_at,
        )
    };
    let of = |definition| {
        ACTIVE.map(|defined| Defined {
            definition,
            ..defined
        })
    };
    let mut lane_status = LaneStatus::new(SubscriptionState::default(), at(5));
    lane_status.follow(of(1), at(5));
    let state = lane_status.tend(at(5)).unwrap();
    assert_eq!(
        (state.created_at, state.updated_at),
        (Some(at(5)), Some(at(5)))
    );

    let mut lane_status = LaneStatus::new(state, at(10));
    lane_status.follow(of(1), at(10));
    assert_eq!(lane_status.tend(at(10)), None, "nothing has changed");
    lane_status.follow(of(2), at(20));
    assert_eq!(lane_status.tend(at(20)).unwrap().updated_at, Some(at(20)));
    for (moment, is_enabled) in [(30, false), (40, true)] {
        if is_enabled {
            lane_status.enable(at(moment));
        } else {
            lane_status.disable(Gone, at(moment));
        }
        assert_eq!(seen(&lane_status), (Some(at(5)), Some(at(moment))));
    }
    lane_status.disable(Manual, at(50));
    lane_status.disable(Manual, at(60));
    lane_status.count(Some(FailureReason::Http5xx), at(60));
    assert_eq!(seen(&lane_status), (Some(at(5)), Some(at(50))));
}

#[test]
fn what_an_older_version_recorded_is_first_seen_now() {
    let older = SubscriptionState {
        endpoint: 7,
        consecutive_failures: 3,
        ..SubscriptionState::default()
    };
    let mut lane_status = LaneStatus::new(older, at(9));
    lane_status.follow(ACTIVE, at(9));
    let state = lane_status.tend(at(9)).unwrap();
    assert_eq!(
        (state.created_at, state.updated_at),
        (Some(at(9)), Some(at(9)))
    );
    assert_eq!(state.consecutive_failures, 3);
}
