//! The predecessor that a pending delivery waits for by the order of its subscription. It is read from the index, so it
//! covers every pending delivery, whether its queue has it in memory or not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::Result;

use super::thread::Reading;
use super::types::Predecessor;
use crate::domain::{EventSeq, Order, SubscriptionNumber, WhenStuck};
use crate::store::index::{find, query, refill};
use crate::store::subscriptions::Orders;

/// Dead deliveries of a subscription that are read, at most: never more keys than that are blocked at a time.
const BLOCKERS_MAX: usize = 20_000;

/// Looks up the deliveries that others wait for.
pub(super) struct Behind<'r> {
    reading: &'r Reading<'r>,
    orders: &'r Orders,
    /// The first dead delivery that blocks, by subscription and key; 0: of any key.
    dead: HashMap<SubscriptionNumber, HashMap<u64, EventSeq>>,
}

impl<'r> Behind<'r> {
    pub(super) fn new(reading: &'r Reading<'r>, orders: &'r Orders) -> Self {
        Self {
            reading,
            orders,
            dead: HashMap::new(),
        }
    }

    /// Returns the delivery that a pending one waits for: a dead one that blocks it, else the first pending one.
    pub(super) fn of(
        &mut self,
        number: SubscriptionNumber,
        seq: EventSeq,
    ) -> Result<Option<Predecessor>> {
        let Some((order, when_stuck)) = self.orders.get(&number).copied() else {
            return Ok(None);
        };
        let index = self.reading.index;
        let key = match order {
            Order::None => return Ok(None),
            Order::Strict => None,
            Order::Key => match query::pending_key(index, number, seq)? {
                None | Some(0) => return Ok(None),
                key => key,
            },
        };
        let dead = match when_stuck {
            WhenStuck::Skip => None,
            WhenStuck::Block => self.first_dead(number, key.unwrap_or(0))?,
        };
        let dead = dead.filter(|dead| *dead < seq);
        let (first, is_dead) = match dead {
            Some(dead) => (Some(dead), true),
            None => (query::pending_before(index, number, seq, key)?, false),
        };
        let event = first
            .map(|first| find::event_row(index, first))
            .transpose()?;
        Ok(event.flatten().map(|event| Predecessor {
            event: event.id,
            is_dead,
        }))
    }

    fn first_dead(&mut self, number: SubscriptionNumber, key: u64) -> Result<Option<EventSeq>> {
        let dead = match self.dead.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let mut first = HashMap::new();
                let dead = refill::blockers(self.reading.index, number, BLOCKERS_MAX)?;
                for dead in dead.entries {
                    first.entry(0).or_insert(dead.seq);
                    first.entry(dead.key).or_insert(dead.seq);
                }
                unknown.insert(first)
            }
        };
        Ok(dead.get(&key).copied())
    }
}
