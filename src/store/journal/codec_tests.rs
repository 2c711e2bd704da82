//! Tests of the record codec: what is written is read, and no bytes make it panic.

use proptest::prelude::*;

use super::*;

fn arb_label() -> impl Strategy<Value = Label> {
    "[!-~]{1,256}".prop_map(|text| text.parse().unwrap())
}

fn arb_time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn arb_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

prop_compose! {
    fn arb_head()(
        id in any::<[u8; 16]>(), given_id in proptest::option::of(arb_label()), event_type in arb_label(),
        key in proptest::option::of(arb_label()), source in proptest::option::of(".{0,20}"), subject in proptest::option::of(".{0,20}"),
        content_type in ".{0,30}", headers in proptest::collection::vec(("[a-z-]{1,9}", arb_bytes(9)), 0..3), accepted_at in arb_time(),
    ) -> EventHead {
        let headers = headers.into_iter().map(|(name, value)| KeptHeader { name: name.into(), value }).collect();
        EventHead {
            id: EventId::from_bytes(id), given_id, event_type, key, source: source.map(Into::into), subject: subject.map(Into::into),
            content_type: content_type.into(), headers, accepted_at,
        }
    }
}

fn arb_death() -> impl Strategy<Value = Death> {
    (proptest::sample::select(DeadReason::ALL), any::<bool>())
        .prop_map(|(reason, blocks)| Death { reason, blocks })
}

prop_compose! {
    fn arb_accepted()(
        seq in any::<u64>(), head in arb_head(), body in arb_bytes(300),
        deliveries in proptest::collection::vec((any::<u32>(), proptest::option::of(arb_death())), 0..4),
        keyed in proptest::collection::vec(any::<u32>(), 0..3),
    ) -> Record {
        let keyed = keyed.into_iter().map(SubscriptionNumber).collect();
        let deliveries = deliveries.into_iter().map(|(number, dead)| (SubscriptionNumber(number), dead)).collect();
        Record::Accepted(Accepted { seq: EventSeq(seq), event: Arc::new(Event { head, body }), deliveries, keyed })
    }
}

fn arb_next() -> impl Strategy<Value = Next> {
    prop_oneof![
        Just(Next::Delivered),
        proptest::sample::select(DeadReason::ALL).prop_map(Next::Dead),
        (arb_time(), any::<u32>()).prop_map(|(at, ms)| Next::Due {
            at,
            pause: Duration::from_millis(ms.into())
        }),
    ]
}

prop_compose! {
    fn arb_attempted()(
        seq in any::<u64>(), subscription in any::<u32>(), attempt in any::<u32>(), recorded_at in arb_time(), started_at in arb_time(),
        micros in any::<u32>(), status in proptest::sample::select(AttemptStatus::ALL),
        reason in proptest::option::of(proptest::sample::select(FailureReason::ALL)),
        response_code in proptest::option::of(100u16..1000), error in proptest::option::of(".{1,40}"), response_prefix in arb_bytes(40), next in arb_next(),
        blocks in any::<bool>(), since in arb_time(),
    ) -> Record {
        let outcome = Outcome {
            started_at, duration: Duration::from_micros(micros.into()), status, reason, response_code,
            error_message: error.map(Into::into), response_prefix,
        };
        Record::Attempted(Attempted { seq: EventSeq(seq), subscription: SubscriptionNumber(subscription), attempt, recorded_at, outcome, next, blocks: blocks && matches!(next, Next::Dead(_)), since })
    }
}

fn arb_state() -> impl Strategy<Value = Record> {
    let time = || proptest::option::of(arb_time());
    let disabled = (proptest::sample::select(DisabledReason::ALL), arb_time());
    let counts = (any::<u32>(), any::<u32>(), any::<u32>());
    let times = (time(), time(), time());
    let stops = proptest::collection::vec((arb_time(), arb_time()), 0..4);
    let seen = (any::<u64>(), time(), time());
    let rest = (
        proptest::option::of(disabled),
        any::<bool>(),
        any::<u64>(),
        seen,
    );
    (counts, times, stops, rest).prop_map(|(counts, times, stops, rest)| {
        Record::SubscriptionState {
            number: SubscriptionNumber(counts.0),
            state: SubscriptionState {
                consecutive_failures: counts.1,
                consecutive_dead: counts.2,
                held_since: times.0,
                first_failure_at: times.1,
                removed_at: times.2,
                stops,
                disabled: rest.0,
                inactive: rest.1,
                endpoint: rest.2,
                definition: rest.3.0,
                created_at: rest.3.1,
                updated_at: rest.3.2,
            },
        }
    })
}

fn arb_operation() -> impl Strategy<Value = Record> {
    let fields = (
        any::<u64>(),
        any::<u32>(),
        arb_time(),
        any::<u32>(),
        any::<bool>(),
    );
    (0..3, fields).prop_map(|(kind, (seq, number, at, attempts, fresh))| {
        let (seq, subscription) = (EventSeq(seq), SubscriptionNumber(number));
        match kind {
            0 => Record::Requeued {
                seq,
                subscription,
                at,
                attempts,
                fresh,
            },
            1 => Record::Cancelled {
                seq,
                subscription,
                at,
            },
            _ => Record::CancelledAll {
                subscription,
                upto: seq,
                at,
            },
        }
    })
}

fn arb_job() -> impl Strategy<Value = Record> {
    (any::<u64>(), arb_bytes(40)).prop_map(|(id, state)| Record::Job {
        id,
        state: state.to_vec(),
    })
}

fn arb_name() -> impl Strategy<Value = Record> {
    (any::<u32>(), "[a-z0-9][a-z0-9_-]{0,63}").prop_map(|(number, name)| {
        Record::SubscriptionNamed {
            number: SubscriptionNumber(number),
            name: name.parse().unwrap(),
        }
    })
}

fn arb_moved() -> impl Strategy<Value = Record> {
    let progress = (
        any::<[u32; 2]>(),
        [arb_time(), arb_time()],
        proptest::option::of((arb_time(), any::<i64>())),
    );
    let progress = progress.prop_map(|(counts, times, due)| Progress {
        attempts: counts[0],
        schedule_attempts: counts[1],
        since: times[0],
        due,
        ended_at: times[1],
    });
    (arb_accepted(), proptest::collection::vec(progress, 4)).prop_map(|(record, mut progress)| {
        let Record::Accepted(accepted) = record else {
            unreachable!("it makes nothing else")
        };
        progress.truncate(accepted.deliveries.len());
        Record::Moved(Moved { accepted, progress })
    })
}

fn arb_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        arb_accepted(),
        arb_attempted(),
        arb_state(),
        arb_name(),
        arb_operation(),
        arb_moved(),
        arb_job()
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(record in arb_record()) {
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        prop_assert_eq!(decode(&bytes), Some(record));
    }

    #[test]
    fn a_record_cut_short_is_none(record in arb_record(), cut in any::<proptest::sample::Index>()) {
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        let length = cut.index(bytes.len());
        match (decode(&bytes[..length]), record) {
            (None, _) => {}
            // Records of older versions end there.
            (Some(Record::SubscriptionState { state: older, .. }), Record::SubscriptionState { state, .. }) => {
                let without = SubscriptionState { definition: 0, created_at: None, updated_at: None, ..state };
                prop_assert_eq!(older, without);
            }
            (Some(decoded), _) => prop_assert!(false, "it was decoded as {:?}", decoded),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes);
    }
}

#[test]
fn a_state_that_an_older_version_wrote_is_read() {
    // Of subscription 300, without the digest of the definition and what follows.
    let bytes = [
        4, 172, 2, // number
        7, // consecutive failures
        1, 200, 1, // held since
        1, 20, 40, // one stop
        1, 60, // first failure at
        2,  // consecutive dead
        5, 100, // disabled
        1,   // inactive
        0,   // removed at
        129, 1, // endpoint
    ];
    let at = Timestamp::from_millis;
    let expected = SubscriptionState {
        consecutive_failures: 7,
        first_failure_at: Some(at(30)),
        consecutive_dead: 2,
        held_since: Some(at(100)),
        disabled: Some((DisabledReason::from_code(4).unwrap(), at(50))),
        inactive: true,
        removed_at: None,
        endpoint: 129,
        stops: vec![(at(10), at(20))],
        definition: 0,
        created_at: None,
        updated_at: None,
    };
    let decoded = decode(&bytes);
    assert_eq!(
        decoded,
        Some(Record::SubscriptionState {
            number: SubscriptionNumber(300),
            state: expected,
        })
    );
}
