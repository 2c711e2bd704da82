//! Tests of the table of given ids, against a model.

use std::collections::VecDeque as Model;

use proptest::prelude::*;

use super::*;
use crate::store::harness::{NOW, event, given};

const HOUR: Duration = Duration::from_secs(3600);

fn seqs(dedup: &mut Dedup, hash: u64, now: Timestamp) -> Vec<u64> {
    let found = dedup.candidates(hash, now);
    found.into_iter().map(|seq| seq.0).collect()
}

#[test]
fn hashes_depend_on_key_given_id_and_source() {
    let key = DedupKey([1; 16]);
    let hash = |id: &str, source: Option<&str>| {
        let mut head = given(id, "", &[]).event.head;
        head.source = source.map(Into::into);
        key.hash(&head)
    };
    assert_eq!(hash("a", None), hash("a", None));
    let all = [
        hash("a", None),
        hash("a", Some("")),
        hash("a", Some("b")),
        hash("ab", None),
        DedupKey([2; 16]).hash(&given("a", "", &[]).event.head),
    ];
    for (position, one) in all.iter().enumerate() {
        assert!(!all[..position].contains(one), "{position}");
    }
    assert_eq!(key.hash(&event("", &[]).event.head), None);
    let (least, greatest) = key.hashes_of(&"a".parse().unwrap());
    let within = all.map(|hash| (least..=greatest).contains(&hash.unwrap()));
    assert_eq!(within, [true, true, true, false, false]);
}

#[test]
fn hashes_are_those_of_siphash_2_4() {
    // They are stored, so they must never change. Source: SipHash reference vectors, key 00..0f big-endian halves here.
    let mut hasher = SipHasher::new_with_keys(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
    hasher.write(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
}

#[test]
fn the_oldest_is_forgotten_first_by_count() {
    let mut dedup = Dedup::new(HOUR, 3);
    for seq in 1..=4 {
        dedup.insert(seq * 100, EventSeq(seq), NOW);
    }
    assert!(seqs(&mut dedup, 100, NOW).is_empty());
    assert_eq!(seqs(&mut dedup, 200, NOW), [2]);
    assert_eq!(seqs(&mut dedup, 400, NOW), [4]);
}

#[test]
fn what_is_older_than_the_window_is_forgotten_within_a_256th_of_it() {
    let mut dedup = Dedup::new(HOUR, 100);
    dedup.insert(1, EventSeq(1), NOW);
    assert_eq!(seqs(&mut dedup, 1, NOW.plus(HOUR)), [1]);
    let late = NOW.plus(HOUR + HOUR / 256 + Duration::from_millis(1));
    assert!(seqs(&mut dedup, 1, late).is_empty());
}

#[test]
fn sequences_far_apart_are_told_or_forgotten_but_never_mistaken() {
    let mut dedup = Dedup::new(HOUR, 100);
    let far = 1 + u64::from(u32::MAX);
    dedup.insert(1, EventSeq(1), NOW);
    dedup.insert(2, EventSeq(far), NOW);
    assert_eq!(seqs(&mut dedup, 1, NOW), [1]);
    dedup.insert(3, EventSeq(far + 1), NOW);
    assert!(seqs(&mut dedup, 1, NOW).is_empty());
    assert_eq!(seqs(&mut dedup, 2, NOW), [far]);
}

proptest! {
    #[test]
    fn it_remembers_what_a_list_would(
        max in 1_usize..20, steps in proptest::collection::vec(0_u64..12, 1..200),
    ) {
        // Few buckets and few hashes, so that searches collide and wrap around.
        let mut dedup = Dedup::new(Duration::from_secs(256), max);
        let mut model: Model<(u64, u64)> = Model::new();
        for (seq, hash) in (1..).zip(steps) {
            let hash = hash * 7;
            dedup.insert(hash, EventSeq(seq), NOW);
            model.push_back((hash, seq));
            if model.len() > max {
                model.pop_front();
            }
            for probe in 0..12 {
                let mut found = seqs(&mut dedup, probe * 7, NOW);
                found.sort_unstable();
                let expected: Vec<u64> =
                    model.iter().filter(|(hash, _)| *hash == probe * 7).map(|(_, seq)| *seq).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
