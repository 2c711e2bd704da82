//! Flipped bits in the pages of deliveries.

use super::*;
use crate::store::entry::Entry;
use crate::store::index::audit::INDEXES;
use crate::store::index::schema::ENTRY;

/// Bits from one that is tried to the next: odd, so that all eight of a byte come up. All are with `SIDEHOOK_LONG=1`.
const STRIDE: usize = 61;

/// An entry, and what readers take beside one.
type Read = (Entry, [Option<i64>; 7]);

/// Everything that is read of deliveries: entries by each of the SQL indexes.
fn deliveries(index: &Index) -> rusqlite::Result<Vec<Vec<Read>>> {
    let beside = "state, subscription, due_at, pause_ms, reason, blocks, ended_at";
    let by_index = INDEXES.iter().map(|(name, rows, _)| {
        format!("SELECT {ENTRY}, {beside} FROM deliveries INDEXED BY {name} WHERE {rows} ORDER BY state, subscription, seq")
    });
    let read = |sql: String| {
        let mut statement = index.connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            let mut beside = [None; 7];
            for (value, column) in beside.iter_mut().zip(10..) {
                *value = row.get(column)?;
            }
            Ok((query::entry(row)?, beside))
        })?;
        rows.collect()
    };
    by_index.map(read).collect()
}

/// Deliveries of every kind: due, dead, blocking, cancelled, with and without a key.
fn of_every_kind() -> Vec<Record> {
    let dead = Some(DeadReason::Exhausted);
    let mut records = Vec::new();
    for seq in 1..=12 {
        let Record::Accepted(mut event) = accepted(seq, &[(1, None), (70_000, None), (3, dead)])
        else {
            unreachable!()
        };
        if seq % 2 == 0 {
            let key = format!("key-{seq}").parse().unwrap();
            Arc::make_mut(&mut event.event).head.key = Some(key);
            event.keyed = vec![SubscriptionNumber(1)];
        }
        if seq % 3 == 0 {
            event.deliveries[2].1 = Some(Death {
                reason: DeadReason::GaveUp,
                blocks: true,
            });
        }
        records.push(Record::Accepted(event));
    }
    for seq in 1..=6 {
        let due = due_in(NOW, Duration::from_secs(seq * 40_000));
        records.push(attempted(seq, 1, 1, due));
        records.push(attempted(seq, 70_000, 1, Next::Dead(DeadReason::Exhausted)));
    }
    records.extend((7..=9).map(|seq| Record::Cancelled {
        seq: EventSeq(seq),
        subscription: SubscriptionNumber(70_000),
        at: NOW,
    }));
    records
}

/// The pages of `deliveries` and its indexes, none of which has a second one.
fn root_pages(index: &Index) -> Vec<usize> {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'deliveries'";
    let mut pages = index.connection.prepare(sql).unwrap();
    let pages = pages.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    pages
        .map(|page| usize::try_from(page.unwrap()).unwrap())
        .collect()
}

#[test]
fn a_flipped_bit_in_a_page_of_deliveries_is_noticed_or_changes_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("index");
    let written = Written::new();
    written.add(&of_every_kind());
    let index = caught_up(&path, &written);
    let expected = deliveries(&index).unwrap();
    assert!(expected.iter().all(|rows| !rows.is_empty()));
    let pages = root_pages(&index);
    assert_eq!(pages.len(), 1 + INDEXES.len());
    drop(index);
    let stride = if std::env::var_os("SIDEHOOK_LONG").is_some() {
        1
    } else {
        STRIDE
    };
    let whole = fs::read(&path).unwrap();
    for page in pages {
        let first = (page - 1) * 4096;
        for bit in (0..4096 * 8).step_by(stride) {
            let mut bytes = whole.clone();
            bytes[first + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let index = Index::open_as_is(&path, KEY).unwrap();
            let read = index.audit().and_then(|()| Ok(deliveries(&index)?));
            match read {
                Ok(read) => assert!(read == expected, "page {page}, bit {bit}"),
                Err(error) => assert!(error.is_damage(), "page {page}, bit {bit}: {error}"),
            }
        }
    }
}
