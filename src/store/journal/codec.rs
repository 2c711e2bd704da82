//! The bytes of records: encoding into a group's buffer, decoding from a verified one.
//!
//! Fields follow the kind without gaps. Whole numbers are LEB128 varints, times are zigzag varints of milliseconds,
//! texts and bytes are preceded by their length. A field added later goes to the end of its record. A reader ignores
//! unknown fields there, and reads an absent one as empty.
//!
//! ```text
//! 1 Accepted            seq, accepted at, event id (16 bytes), flags (1 given id, 2 key, 4 source, 8 subject), type, each flagged
//!                       text, content type, headers (count, then name and value each), deliveries (count, then number and
//!                       0 or 1 + dead reason each, 128 more if it blocks), those
//!                       that are ordered by key (count, then number each), body
//! 2 Attempted           seq, subscription, attempt, recorded at, started at, duration in µs, status, 0 or 1 + failure reason,
//!                       0 or response code, error message (empty: none), response prefix,
//!                       next: 0 delivered | 1 dead, reason | 2 due, at, pause in ms | 3 dead and blocking, reason;
//!                       schedule began at
//! 3 SubscriptionNamed   number, name
//! 4 SubscriptionState   number, consecutive failures, 0 | 1 held since, stops (count, then from and until each),
//!                       0 | 1 first failure at, consecutive dead, 0 | 1 + reason and since when disabled, inactive 0 or 1,
//!                       0 | 1 removed at, digest of the url, digest of the definition, 0 | 1 created at, 0 | 1 updated at
//!                       (the last three may be absent: they were added later)
//! 5 Requeued            seq, subscription, at, attempts, fresh 0 or 1
//! 6 Cancelled           seq, subscription, at
//! 7 CancelledAll        subscription, upto seq, at
//! 8 Moved               the fields of Accepted, then for each delivery: attempts, attempts of the schedule, schedule began at,
//!                       0 | 1 due at and pause in ms, ended at
//! 9 Job                 id, state
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::{
    AttemptStatus, DeadReason, DisabledReason, Event, EventHead, EventId, EventSeq, FailureReason,
    KeptHeader, Label, Next, Outcome, SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::store::SubscriptionState;
use crate::store::fields::{
    Reader, put_bytes, put_length, put_number, put_optional_time, put_time,
};
use crate::store::record::{Accepted, Attempted, Death, Moved, Progress, Record};

const ACCEPTED: u8 = 1;
const ATTEMPTED: u8 = 2;
const NAMED: u8 = 3;
const STATE: u8 = 4;
const REQUEUED: u8 = 5;
const CANCELLED: u8 = 6;
const CANCELLED_ALL: u8 = 7;
const MOVED: u8 = 8;
const JOB: u8 = 9;

const GIVEN_ID: u8 = 1;
const KEY: u8 = 2;
const SOURCE: u8 = 4;
const SUBJECT: u8 = 8;

/// Added to the byte of a delivery that was dead from the start if it blocks.
const BLOCKS: u8 = 128;

/// Appends kind and fields of a record.
pub(super) fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Accepted(accepted) => {
            out.push(ACCEPTED);
            encode_accepted(accepted, out);
        }
        Record::Attempted(attempted) => {
            out.push(ATTEMPTED);
            encode_attempted(attempted, out);
        }
        Record::Moved(moved) => {
            out.push(MOVED);
            encode_accepted(&moved.accepted, out);
            for progress in &moved.progress {
                encode_progress(progress, out);
            }
        }
        Record::SubscriptionNamed { number, name } => {
            out.push(NAMED);
            put_number(out, number.0.into());
            put_bytes(out, name.as_str().as_bytes());
        }
        Record::SubscriptionState { number, state } => {
            out.push(STATE);
            put_number(out, number.0.into());
            encode_state(state, out);
        }
        Record::Requeued {
            seq,
            subscription,
            at,
            attempts,
            fresh,
        } => {
            put_delivery(REQUEUED, *seq, *subscription, *at, out);
            put_number(out, (*attempts).into());
            out.push(u8::from(*fresh));
        }
        Record::Cancelled {
            seq,
            subscription,
            at,
        } => put_delivery(CANCELLED, *seq, *subscription, *at, out),
        Record::CancelledAll {
            subscription,
            upto,
            at,
        } => {
            out.push(CANCELLED_ALL);
            put_number(out, subscription.0.into());
            put_number(out, upto.0);
            put_time(out, *at);
        }
        Record::Job { id, state } => {
            out.push(JOB);
            put_number(out, *id);
            put_bytes(out, state);
        }
    }
}

fn put_delivery(
    kind: u8,
    seq: EventSeq,
    subscription: SubscriptionNumber,
    at: Timestamp,
    out: &mut Vec<u8>,
) {
    out.push(kind);
    put_number(out, seq.0);
    put_number(out, subscription.0.into());
    put_time(out, at);
}

fn encode_accepted(accepted: &Accepted, out: &mut Vec<u8>) {
    let Event { head, body } = &*accepted.event;
    put_number(out, accepted.seq.0);
    put_time(out, head.accepted_at);
    out.extend_from_slice(head.id.as_bytes());
    let optional = [
        (GIVEN_ID, head.given_id.as_ref().map(Label::as_str)),
        (KEY, head.key.as_ref().map(Label::as_str)),
        (SOURCE, head.source.as_deref()),
        (SUBJECT, head.subject.as_deref()),
    ];
    out.push(
        optional
            .iter()
            .filter(|(_, text)| text.is_some())
            .map(|(flag, _)| flag)
            .sum(),
    );
    put_bytes(out, head.event_type.as_str().as_bytes());
    for (_, text) in optional {
        if let Some(text) = text {
            put_bytes(out, text.as_bytes());
        }
    }
    put_bytes(out, head.content_type.as_bytes());
    put_length(out, head.headers.len());
    for header in &head.headers {
        put_bytes(out, header.name.as_bytes());
        put_bytes(out, &header.value);
    }
    put_length(out, accepted.deliveries.len());
    for (subscription, dead) in &accepted.deliveries {
        put_number(out, subscription.0.into());
        out.push(dead.map_or(0, |death| {
            let code = death.reason.code().saturating_add(1);
            if death.blocks { code | BLOCKS } else { code }
        }));
    }
    put_length(out, accepted.keyed.len());
    for subscription in &accepted.keyed {
        put_number(out, subscription.0.into());
    }
    put_bytes(out, body);
}

fn encode_progress(progress: &Progress, out: &mut Vec<u8>) {
    put_number(out, progress.attempts.into());
    put_number(out, progress.schedule_attempts.into());
    put_time(out, progress.since);
    put_optional_time(out, progress.due.map(|(at, _)| at));
    if let Some((_, pause_ms)) = progress.due {
        put_time(out, Timestamp::from_millis(pause_ms));
    }
    put_time(out, progress.ended_at);
}

fn encode_attempted(attempted: &Attempted, out: &mut Vec<u8>) {
    let outcome = &attempted.outcome;
    put_number(out, attempted.seq.0);
    put_number(out, attempted.subscription.0.into());
    put_number(out, attempted.attempt.into());
    put_time(out, attempted.recorded_at);
    put_time(out, outcome.started_at);
    put_number(
        out,
        u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
    );
    out.push(outcome.status.code());
    out.push(
        outcome
            .reason
            .map_or(0, |reason| reason.code().saturating_add(1)),
    );
    put_number(out, outcome.response_code.unwrap_or(0).into());
    put_bytes(
        out,
        outcome.error_message.as_deref().unwrap_or("").as_bytes(),
    );
    put_bytes(out, &outcome.response_prefix);
    match attempted.next {
        Next::Delivered => out.push(0),
        Next::Dead(reason) => {
            let kind = if attempted.blocks { 3 } else { 1 };
            out.extend_from_slice(&[kind, reason.code()]);
        }
        Next::Due { at, pause } => {
            out.push(2);
            put_time(out, at);
            put_number(out, u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        }
    }
    put_time(out, attempted.since);
}

/// Appends the fields of a state; the index stores the same bytes.
pub(in crate::store) fn encode_state(state: &SubscriptionState, out: &mut Vec<u8>) {
    put_number(out, state.consecutive_failures.into());
    put_optional_time(out, state.held_since);
    put_length(out, state.stops.len());
    for (from, until) in &state.stops {
        put_time(out, *from);
        put_time(out, *until);
    }
    put_optional_time(out, state.first_failure_at);
    put_number(out, state.consecutive_dead.into());
    match state.disabled {
        None => out.push(0),
        Some((reason, since)) => {
            out.push(reason.code().saturating_add(1));
            put_time(out, since);
        }
    }
    out.push(u8::from(state.inactive));
    put_optional_time(out, state.removed_at);
    put_number(out, state.endpoint);
    put_number(out, state.definition);
    put_optional_time(out, state.created_at);
    put_optional_time(out, state.updated_at);
}

/// Reads a record from its kind and fields. Returns `None` if they are not valid.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let (kind, rest) = bytes.split_first()?;
    let mut fields = Reader(rest);
    match *kind {
        ACCEPTED => decode_accepted(&mut fields).map(Record::Accepted),
        ATTEMPTED => decode_attempted(&mut fields).map(Record::Attempted),
        MOVED => decode_moved(&mut fields).map(Record::Moved),
        NAMED => Some(Record::SubscriptionNamed {
            number: SubscriptionNumber(fields.small()?),
            name: SubscriptionName::known(fields.text()?).ok()?,
        }),
        STATE => Some(Record::SubscriptionState {
            number: SubscriptionNumber(fields.small()?),
            state: decode_state(fields.0)?,
        }),
        REQUEUED => Some(Record::Requeued {
            seq: EventSeq(fields.number()?),
            subscription: SubscriptionNumber(fields.small()?),
            at: fields.time()?,
            attempts: fields.small()?,
            fresh: fields.byte()? != 0,
        }),
        CANCELLED => Some(Record::Cancelled {
            seq: EventSeq(fields.number()?),
            subscription: SubscriptionNumber(fields.small()?),
            at: fields.time()?,
        }),
        CANCELLED_ALL => Some(Record::CancelledAll {
            subscription: SubscriptionNumber(fields.small()?),
            upto: EventSeq(fields.number()?),
            at: fields.time()?,
        }),
        JOB => Some(Record::Job {
            id: fields.number()?,
            state: fields.bytes()?.to_vec(),
        }),
        _ => None,
    }
}

fn decode_accepted(fields: &mut Reader<'_>) -> Option<Accepted> {
    let seq = EventSeq(fields.number()?);
    let accepted_at = fields.time()?;
    let id = EventId::from_bytes(*fields.take(16)?.first_chunk()?);
    let flags = fields.byte()?;
    let event_type = fields.text()?.parse().ok()?;
    let mut optional = |flag: u8| {
        if flags & flag == 0 {
            Some(None)
        } else {
            fields.text().map(Some)
        }
    };
    let (given_id, key, source, subject) = (
        optional(GIVEN_ID)?,
        optional(KEY)?,
        optional(SOURCE)?,
        optional(SUBJECT)?,
    );
    let head = EventHead {
        id,
        given_id: label(given_id)?,
        event_type,
        key: label(key)?,
        source: source.map(Box::from),
        subject: subject.map(Box::from),
        content_type: fields.text()?.into(),
        headers: fields.list(|fields| {
            Some(KeptHeader {
                name: fields.text()?.into(),
                value: Bytes::copy_from_slice(fields.bytes()?),
            })
        })?,
        accepted_at,
    };
    let deliveries = fields.list(|fields| {
        let subscription = SubscriptionNumber(fields.small()?);
        match fields.byte()? {
            0 => Some((subscription, None)),
            code => {
                let death = Death {
                    reason: DeadReason::from_code((code & !BLOCKS).checked_sub(1)?)?,
                    blocks: code & BLOCKS != 0,
                };
                Some((subscription, Some(death)))
            }
        }
    })?;
    let keyed = fields.list(|fields| Some(SubscriptionNumber(fields.small()?)))?;
    let body = Bytes::copy_from_slice(fields.bytes()?);
    Some(Accepted {
        seq,
        event: Arc::new(Event { head, body }),
        deliveries,
        keyed,
    })
}

fn decode_moved(fields: &mut Reader<'_>) -> Option<Moved> {
    let accepted = decode_accepted(fields)?;
    let mut progress = Vec::with_capacity(accepted.deliveries.len());
    for _ in &accepted.deliveries {
        progress.push(Progress {
            attempts: fields.small()?,
            schedule_attempts: fields.small()?,
            since: fields.time()?,
            due: match fields.optional_time()? {
                None => None,
                Some(at) => Some((at, fields.time()?.as_millis())),
            },
            ended_at: fields.time()?,
        });
    }
    Some(Moved { accepted, progress })
}

fn decode_attempted(fields: &mut Reader<'_>) -> Option<Attempted> {
    let seq = EventSeq(fields.number()?);
    let subscription = SubscriptionNumber(fields.small()?);
    let attempt = fields.small()?;
    let recorded_at = fields.time()?;
    let outcome = Outcome {
        started_at: fields.time()?,
        duration: Duration::from_micros(fields.number()?),
        status: AttemptStatus::from_code(fields.byte()?)?,
        reason: match fields.byte()? {
            0 => None,
            code => Some(FailureReason::from_code(code - 1)?),
        },
        response_code: match fields.number()? {
            0 => None,
            code => Some(u16::try_from(code).ok()?),
        },
        error_message: Some(fields.text()?)
            .filter(|text| !text.is_empty())
            .map(Box::from),
        response_prefix: Bytes::copy_from_slice(fields.bytes()?),
    };
    let kind = fields.byte()?;
    let next = match kind {
        0 => Next::Delivered,
        1 | 3 => Next::Dead(DeadReason::from_code(fields.byte()?)?),
        2 => Next::Due {
            at: fields.time()?,
            pause: Duration::from_millis(fields.number()?),
        },
        _ => return None,
    };
    Some(Attempted {
        seq,
        subscription,
        attempt,
        recorded_at,
        outcome,
        next,
        blocks: kind == 3,
        since: fields.time()?,
    })
}

/// Reads the fields of a state. Returns `None` if they are not valid.
pub(in crate::store) fn decode_state(bytes: &[u8]) -> Option<SubscriptionState> {
    let mut fields = Reader(bytes);
    let mut state = SubscriptionState {
        consecutive_failures: fields.small()?,
        held_since: fields.optional_time()?,
        stops: fields.list(|fields| Some((fields.time()?, fields.time()?)))?,
        first_failure_at: fields.optional_time()?,
        consecutive_dead: fields.small()?,
        disabled: match fields.byte()? {
            0 => None,
            code => Some((DisabledReason::from_code(code - 1)?, fields.time()?)),
        },
        inactive: fields.byte()? != 0,
        removed_at: fields.optional_time()?,
        endpoint: fields.number()?,
        ..SubscriptionState::default()
    };
    if !fields.0.is_empty() {
        state.definition = fields.number()?;
        state.created_at = fields.optional_time()?;
        state.updated_at = fields.optional_time()?;
    }
    Some(state)
}

fn label(text: Option<&str>) -> Option<Option<Label>> {
    match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
