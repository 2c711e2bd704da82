//! The statements that write a round: its stretches in order, each followed by its operations, and the cursor, all or
//! nothing.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::apply::{Round, Stretch};
use super::net::{DeliveryKey, RowState, SegmentRows, Tally, due};
use super::numbers::{int, millis};
use super::query;
use super::schema::ENTRY;
use super::schema::{create_segment, seal_segment};
use super::wide::Wide;
use crate::domain::{DeliveryState, Next, SubscriptionNumber};
use crate::store::entry::Entry;
use crate::store::journal::{Position, encode_state};
use crate::store::record::Death;

impl Round {
    /// Writes the stretches gathered so far, in a transaction that ends with [`Round::finish`].
    pub(super) fn flush(&mut self, transaction: &Connection) -> Result<()> {
        for stretch in self.take_stretches() {
            for rows in &stretch.segments {
                self.tallied.gather(rows);
            }
            stretch.write(transaction)?;
        }
        Ok(())
    }

    /// Writes the rest of the net effect and moves the cursor from `before` to `cursor`.
    pub(super) fn finish(
        mut self,
        transaction: &Connection,
        before: Position,
        cursor: Position,
    ) -> Result<()> {
        self.flush(transaction)?;
        self.tallied.write(transaction)?;
        for sealed in before.segment.max(1)..cursor.segment {
            seal_segment(transaction, sealed)?;
        }
        transaction.execute(
            "UPDATE head SET segment = ?1, offset = ?2, last_seq = max(last_seq, ?3), last_time = max(last_time, ?4)",
            params![cursor.segment, cursor.offset, int(self.last_seq.0), millis(self.last_time)],
        )?;
        Ok(())
    }
}

impl Stretch {
    fn write(mut self, connection: &Connection) -> Result<()> {
        for rows in &self.segments {
            rows.write(connection)?;
        }
        self.write_older(connection)?;
        self.write_pending(connection)?;
        for (number, entry, death, at) in &self.dead {
            insert(connection, *number, entry, RowState::Dead(*death, *at))?;
        }
        self.write_subscriptions(connection)?;
        for operation in std::mem::take(&mut self.operations) {
            operation.apply(connection, &mut self.tally)?;
        }
        self.tally.write(connection)
    }

    /// Writes the effect of attempts on deliveries that have a row. A delivery without one has reached its final state.
    fn write_older(&mut self, connection: &Connection) -> Result<()> {
        let mut update = connection.prepare_cached(
            "UPDATE deliveries SET attempts = ?3, schedule_attempts = schedule_attempts + ?4, since = ?5,
             due_at = ?6, pause_ms = ?7 WHERE state = 0 AND subscription = ?1 AND seq = ?2",
        )?;
        for ((number, seq), attempts) in std::mem::take(&mut self.older) {
            let Some(due) = due(attempts.end) else {
                let Some(mut entry) = take(connection, DeliveryState::Pending, (number, seq))?
                else {
                    continue;
                };
                entry.attempts = attempts.last;
                self.tally.ended(number, &entry, attempts.at);
                if let Next::Dead(reason) = attempts.end {
                    let death = Death {
                        reason,
                        blocks: attempts.blocks,
                    };
                    self.died(number, entry, death, attempts.at);
                }
                continue;
            };
            update.execute(params![
                number.0,
                int(seq.0),
                attempts.last,
                attempts.made,
                millis(attempts.since),
                millis(due.at),
                due.pause_ms
            ])?;
        }
        Ok(())
    }

    fn write_pending(&mut self, connection: &Connection) -> Result<()> {
        let Wide { events, deliveries } = &mut self.wide;
        deliveries.sort_unstable();
        for (number, event, keyed) in deliveries {
            let position = usize::try_from(*event).unwrap_or(usize::MAX);
            if let Some((unkeyed, with_key)) = events.get(position) {
                let entry = if *keyed { *with_key } else { *unkeyed };
                insert(connection, *number, &entry, RowState::Pending(None))?;
            }
        }

        let mut rows: Vec<_> = self.fresh.iter().collect();
        rows.sort_unstable_by_key(|(key, _)| **key);
        for ((number, _), pending) in rows {
            insert(
                connection,
                *number,
                &pending.entry,
                RowState::Pending(pending.due),
            )?;
        }
        Ok(())
    }

    fn write_subscriptions(&self, connection: &Connection) -> Result<()> {
        let mut name = connection.prepare_cached(
            "INSERT INTO subscriptions (number, name) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET name = excluded.name",
        )?;
        for (number, text) in &self.names {
            name.execute(params![number.0, text.as_str()])?;
        }
        let mut state = connection.prepare_cached(
            "INSERT INTO subscriptions (number, state) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET state = excluded.state",
        )?;
        for (number, new) in &self.states {
            let mut bytes = Vec::new();
            encode_state(new, &mut bytes);
            state.execute(params![number.0, bytes])?;
        }
        for (id, state) in &self.jobs {
            connection.execute("DELETE FROM jobs WHERE id = ?1", [int(*id)])?;
            if !state.is_empty() {
                connection.execute("INSERT INTO jobs VALUES (?1, ?2)", params![int(*id), state])?;
            }
        }
        Ok(())
    }
}

impl Tally {
    fn write(&self, connection: &Connection) -> Result<()> {
        let mut add = connection.prepare_cached(
            "INSERT INTO counters VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
             pending = pending + excluded.pending, pending_bytes = pending_bytes + excluded.pending_bytes,
             dead = dead + excluded.dead",
        )?;
        for (number, change) in &self.counters {
            add.execute(params![
                number.0,
                change.pending,
                change.pending_bytes,
                change.dead
            ])?;
        }
        let mut add = connection.prepare_cached(
            "INSERT INTO segments (segment, pending, dead, ended_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
             pending = pending + excluded.pending, dead = dead + excluded.dead, ended_at = max(ended_at, excluded.ended_at)",
        )?;
        for (segment, change) in &self.segments {
            add.execute(params![
                segment,
                change.pending,
                change.dead,
                millis(change.ended_at)
            ])?;
        }
        Ok(())
    }
}

/// Deletes the row of a delivery in this state, and returns it.
pub(super) fn take(
    connection: &Connection,
    state: DeliveryState,
    (number, seq): DeliveryKey,
) -> Result<Option<Entry>> {
    connection
        .prepare_cached(&format!(
            "DELETE FROM deliveries WHERE state = ?1 AND subscription = ?2 AND seq = ?3 RETURNING {ENTRY}"
        ))?
        .query_row(params![state.code(), number.0, int(seq.0)], query::entry)
        .optional()
}

/// Writes the row of a delivery.
pub(super) fn insert(
    connection: &Connection,
    number: SubscriptionNumber,
    entry: &Entry,
    state: RowState,
) -> Result<()> {
    // A cancellation may be read from the journal a second time.
    let (or, code) = match state {
        RowState::Pending(_) => ("", DeliveryState::Pending.code()),
        RowState::Dead(..) => ("", DeliveryState::Dead.code()),
        RowState::Cancelled(_) => ("OR REPLACE", DeliveryState::Cancelled.code()),
    };
    let (due, death, ended_at) = match state {
        RowState::Pending(due) => (due, None, None),
        RowState::Dead(death, at) => (None, Some(death), Some(at)),
        RowState::Cancelled(at) => (None, None, Some(at)),
    };
    // The schedule has ended.
    let schedule_attempts = ended_at.map_or(entry.schedule_attempts, |_| 0);
    connection
        .prepare_cached(&format!(
            "INSERT {or} INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
        ))?
        .execute(params![
            code,
            number.0,
            int(entry.seq.0),
            entry.place.segment,
            entry.place.offset,
            entry.place.length,
            entry.body_bytes,
            millis(entry.accepted_at),
            millis(entry.since),
            entry.key.cast_signed(),
            entry.attempts,
            schedule_attempts,
            due.map(|due| millis(due.at)),
            due.map(|due| due.pause_ms),
            death.map(|death| death.reason.code()),
            death.is_some_and(|death| death.blocks),
            ended_at.map(millis),
        ])
        .map(drop)
}

impl SegmentRows {
    fn write(&self, connection: &Connection) -> Result<()> {
        let segment = self.segment;
        create_segment(connection, segment)?;
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO events_{segment} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ))?;
        for row in &self.events {
            insert.execute(params![
                int(row.seq.0),
                row.id,
                row.given.map(u64::cast_signed),
                row.event_type.as_str(),
                row.key.cast_signed(),
                millis(row.accepted_at),
                row.place.offset,
                row.place.length,
                row.body_bytes,
                row.subscriptions,
            ])?;
        }
        self.write_attempts(connection)?;
        self.write_bounds(connection)
    }

    /// Widens the bounds of the whole segment.
    fn write_bounds(&self, connection: &Connection) -> Result<()> {
        let least = |column| {
            format!(
                "{column} = coalesce(min({column}, excluded.{column}), {column}, excluded.{column})"
            )
        };
        let most = |column| {
            format!(
                "{column} = coalesce(max({column}, excluded.{column}), {column}, excluded.{column})"
            )
        };
        let accepted = self.events.iter().map(|row| millis(row.accepted_at));
        let began = self.attempts.iter();
        let began = began.map(|(.., outcome, _)| millis(outcome.started_at));
        connection
            .prepare_cached(&format!(
                "INSERT INTO segments VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET
                 {}, {}, {}, {}, {}, {}",
                least("first_seq"),
                most("last_seq"),
                least("accepted_from"),
                most("accepted_to"),
                least("began_from"),
                most("began_to"),
            ))?
            .execute(params![
                self.segment,
                self.events.first().map(|row| int(row.seq.0)),
                self.events.last().map(|row| int(row.seq.0)),
                i64::MIN,
                accepted.clone().min(),
                accepted.max(),
                began.clone().min(),
                began.max(),
            ])
            .map(drop)
    }

    fn write_attempts(&self, connection: &Connection) -> Result<()> {
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO attempts_{} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            self.segment
        ))?;
        for ((number, seq), attempt, outcome, due_at) in &self.attempts {
            let response = &outcome.response_prefix;
            insert.execute(params![
                int(seq.0),
                number.0,
                attempt,
                outcome.status.code(),
                outcome.reason.map(|reason| reason.code()),
                outcome.response_code,
                outcome.error_message.as_deref(),
                i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX),
                millis(outcome.started_at),
                (!response.is_empty()).then_some(&response[..]),
                due_at.map(millis),
            ])?;
        }
        Ok(())
    }
}
