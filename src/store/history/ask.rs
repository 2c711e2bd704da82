//! The queries of a store; each runs in the thread of queries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::tallies::{self, Tally};
use super::thread::{Inbox, ReadError, Reading};
use super::types::{
    AttemptFilter, AttemptView, DeliveryFilter, DeliverySummary, DeliveryView, EventFilter,
    EventSummary, EventView, Listing, Page, QueryError,
};
use super::{attempts, deliveries, delivery, event, events};
use crate::domain::{Clock, DeliveryId, EventId, EventIdRange, SubscriptionName};
use crate::store::dedup::DedupKey;
use crate::store::index::{Inbox as IndexInbox, find};
use crate::store::subscriptions::Subscriptions;

/// Queries of a store.
pub struct History {
    pub(in crate::store) inbox: Arc<Inbox>,
    pub(in crate::store) index: Arc<IndexInbox>,
    pub(in crate::store) subscriptions: Arc<Subscriptions>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    /// The key that given ids are hashed with.
    pub(in crate::store) key: DedupKey,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    /// Returns an event with its deliveries; `None` if it is not kept.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn event(&self, id: &EventId) -> Result<Option<EventView>, QueryError> {
        let (id, orders) = (*id, self.subscriptions.orders(None));
        self.query(move |reading| event::view(reading, &orders, id))
            .await
    }

    /// Returns ids of events within a range, in order. Stops at the segment with which `most` are reached.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ids_within(
        &self,
        range: EventIdRange,
        most: usize,
    ) -> Result<Vec<EventId>, QueryError> {
        let ask = move |reading: &Reading<'_>| Ok(find::ids_within(reading.index, range, most)?);
        let found = self.query(ask).await?;
        Ok(found.into_iter().collect())
    }

    /// Returns events, newest first. A call reads 50,000 rows at most. With a given id only the rows of the segment
    /// that still grows count.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn events(
        &self,
        filter: EventFilter,
        page: Page,
    ) -> Result<Listing<EventSummary>, QueryError> {
        let list = events::List::new(filter, &page, &self.key)?;
        self.query(move |reading| list.read(reading)).await
    }

    /// Returns a delivery with its attempts; `None` if it is not kept.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryView>, QueryError> {
        let orders = self.subscriptions.orders(Some(&id.subscription));
        let id = id.clone();
        let ask = move |reading: &Reading<'_>| delivery::view(reading, &orders, &id);
        self.query(ask).await
    }

    /// Returns deliveries, newest event first. A call reads 50,000 rows at most: for pending, dead or cancelled
    /// deliveries these are rows of that state and subscription, otherwise they are events.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: Page,
    ) -> Result<Listing<DeliverySummary>, QueryError> {
        let orders = self.subscriptions.orders(filter.subscription.as_ref());
        let list = deliveries::List::new(filter, &page)?;
        self.query(move |reading| list.read(reading, &orders)).await
    }

    /// Returns attempts of a subscription, the one recorded last first. A call reads 50,000 rows at most.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn attempts(
        &self,
        subscription: &SubscriptionName,
        filter: AttemptFilter,
        page: Page,
    ) -> Result<Listing<AttemptView>, QueryError> {
        let orders = self.subscriptions.orders(Some(subscription));
        let list = attempts::List::new(subscription.clone(), filter, &page)?;
        self.query(move |reading| list.read(reading, &orders)).await
    }

    /// Returns the attempt results of a subscription; empty for an unknown one.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn tally(&self, name: &SubscriptionName) -> Result<Tally, QueryError> {
        let number = {
            let names = self.subscriptions.read();
            names.number(name)
        };
        let Some(number) = number else {
            return Ok(Tally::default());
        };
        let wall = self.clock.wall();
        let ask = move |reading: &Reading<'_>| Ok(tallies::tally(reading, number, wall)?);
        self.query(ask).await
    }

    /// Returns the attempt results of these subscriptions, by name, without those that the store does not have. The
    /// size of a page bounds the cost.
    ///
    /// # Errors
    /// [`QueryError`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn tallies(
        &self,
        of: &[&SubscriptionName],
    ) -> Result<BTreeMap<SubscriptionName, Tally>, QueryError> {
        let numbers: Vec<_> = {
            let names = self.subscriptions.read();
            let numbered = |name: &&SubscriptionName| Some((names.number(name)?, (*name).clone()));
            of.iter().filter_map(numbered).collect()
        };
        let wall = self.clock.wall();
        let ask = move |reading: &Reading<'_>| {
            let mut all = BTreeMap::new();
            for (number, name) in &numbers {
                all.insert(name.clone(), tallies::tally(reading, *number, wall)?);
            }
            Ok(all)
        };
        self.query(ask).await
    }

    /// Runs `ask` in the thread of queries, once the index has everything that is committed.
    async fn query<T: Send + 'static>(
        &self,
        ask: impl FnMut(&Reading<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let slot = self.inbox.slot().ok_or(QueryError::Overloaded)?;
        let failed = || QueryError::Failed(self.subscriptions.appender.failure.reason());
        let known = self.index.ask(|_| Ok(()));
        known.await.map_err(|_| failed())?;
        let answer = self.inbox.ask(slot, ask);
        answer.await.unwrap_or_else(|_| Err(failed()))
    }
}
