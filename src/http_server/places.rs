//! Which connections have a place on a listener, and which have to leave when places are short.
//!
//! Places are shared fairly by caller: the one with the most loses one first. Within one caller that connection goes
//! that keeps us waiting longest, for a request, for the rest of one, or for its answer to be taken. On a loopback
//! address all callers are one, so this alone decides. A connection that waits for us never has to leave.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::Id;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http_server::progress::Progress;

/// A connection may keep us waiting this long whatever others need: a head in two packets is no fault, and a new
/// connection must get time for its request.
const PATIENCE: Duration = Duration::from_millis(20);

/// Of so many connections one leaves at a time.
const BATCH_SHARE: usize = 64;

/// The caller of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// A user of this machine, by a unix socket.
    User(u32),
    /// An address; of IPv6 a network of 64 bits, which is what one party has.
    Address(IpAddr),
    /// The system does not report it.
    Unknown,
}

impl Caller {
    pub(super) fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Place {
    caller: Caller,
    progress: Arc<Progress>,
    /// Asks it to leave.
    leave: CancellationToken,
    /// It was asked.
    is_leaving: bool,
}

impl Place {
    pub(super) fn new(caller: Caller, progress: Arc<Progress>, leave: CancellationToken) -> Self {
        Self {
            caller,
            progress,
            leave,
            is_leaving: false,
        }
    }
}

/// The connections of one listener.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: HashMap<Id, Place>,
    callers: HashMap<Caller, usize>,
}

impl Places {
    pub(super) fn add(&mut self, id: Id, place: Place) {
        *self.callers.entry(place.caller).or_default() += 1;
        self.places.insert(id, place);
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        if let Some(count) = self.callers.get_mut(&place.caller) {
            *count -= 1;
            if *count == 0 {
                self.callers.remove(&place.caller);
            }
        }
    }

    /// Asks a connection to leave, or some where there are many: a crowd comes and goes fast. Does nothing while one is
    /// about to leave.
    pub(super) fn make_room(&mut self) {
        let (now, callers) = (Instant::now(), &self.callers);
        let batch = (self.places.len() / BATCH_SHARE).max(1);
        let candidates = self.places.values_mut().filter_map(|place| {
            let waited = place.progress.waited(now).filter(|it| *it >= PATIENCE)?;
            Some(((callers.get(&place.caller), waited), place))
        });
        let mut candidates: Vec<_> = candidates.collect();
        if candidates.iter().any(|(_, place)| place.is_leaving) {
            return;
        }
        candidates.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        for (_, place) in candidates.into_iter().take(batch) {
            place.is_leaving = true;
            place.leave.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places of the callers named, taken a second apart; with the tokens that ask them to leave.
    async fn taken(callers: &[&str]) -> (Places, Vec<CancellationToken>) {
        let mut places = Places::default();
        let mut tokens = Vec::new();
        for caller in callers {
            let caller = Caller::of_address(caller.parse().unwrap());
            let (progress, token) = (Arc::new(Progress::new()), CancellationToken::new());
            let id = tokio::spawn(async {}).id();
            places.add(id, Place::new(caller, progress, token.clone()));
            tokens.push(token);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        (places, tokens)
    }

    fn leaving(tokens: &[CancellationToken]) -> Vec<usize> {
        let all = tokens.iter().enumerate();
        let leaving = all.filter(|(_, token)| token.is_cancelled());
        leaving.map(|(number, _)| number).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_places_loses_its_oldest_and_one_at_a_time() {
        let (mut places, tokens) = taken(&["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"]).await;
        places.make_room();
        places.make_room();
        assert_eq!(leaving(&tokens), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_caller_the_oldest_leaves_and_then_the_next() {
        let (mut places, tokens) = taken(&["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1"]).await;
        places.make_room();
        assert_eq!(leaving(&tokens), [0]);
        let gone = places.places.iter().find(|(_, place)| place.is_leaving);
        let gone = *gone.unwrap().0;
        places.remove(gone);
        places.make_room();
        assert_eq!(leaving(&tokens), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_caller() {
        let callers = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:1:9::2"];
        let (mut places, tokens) = taken(&callers).await;
        places.make_room();
        assert_eq!(leaving(&tokens), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_just_came_or_waits_for_us_stays() {
        let (mut places, tokens) = taken(&["10.0.0.1"]).await;
        for place in places.places.values() {
            place
                .progress
                .enter(crate::http_server::progress::Phase::Request);
        }
        places.make_room();
        let id = tokio::spawn(async {}).id();
        let (progress, token) = (Arc::new(Progress::new()), CancellationToken::new());
        places.add(id, Place::new(Caller::User(0), progress, token.clone()));
        places.make_room();
        assert!(leaving(&tokens).is_empty());
        assert!(!token.is_cancelled());
    }
}
