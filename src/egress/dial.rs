//! Makes one connection to an origin: resolve, check each address, connect, shake hands.
//!
//! The guard sees the very address that is dialled, for names and literals alike. No proxy of the environment is
//! ever used. What is spoken on the connection is left to `http1` and `http2`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::descriptors;
use crate::domain::{FailureReason, Timestamp};
use crate::egress::failure::SendError;
use crate::egress::guard::AddressPolicy;
use crate::egress::origin::{Host, Origin};
use crate::egress::resolver::Resolver;
use crate::egress::tls::Tls;

/// The limit for connecting in all: resolving, dialling and the TLS handshake.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two addresses (RFC 8305 section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection, encrypted or not.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// An open connection, and the results of its handshake.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    pub(super) is_http2: bool,
    pub(super) certificate_expires: Option<Timestamp>,
}

/// Dials for one client.
pub(super) struct Dialer {
    pub(super) policy: Arc<AddressPolicy>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) tls: Tls,
    pub(super) limit: Duration,
}

impl Dialer {
    /// Opens a connection to `origin` within the limit, shared out so that it also fits until `attempt_ends`.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(super) async fn dial(
        &self,
        origin: &Origin,
        attempt_ends: Instant,
    ) -> Result<Dialled, SendError> {
        let deadline = Instant::now() + self.limit;
        let addresses = self.addresses(origin).await?;
        let time = attempt_ends
            .min(deadline)
            .saturating_duration_since(Instant::now());
        let stream = connect(addresses, deadline, time).await?;
        let Some(name) = origin.server_name.clone() else {
            return Ok(Dialled {
                stream: Either::Left(stream),
                is_http2: false,
                certificate_expires: None,
            });
        };
        let handshake = timeout_at(deadline, self.tls.connect(name, stream));
        let secured = handshake.await.map_err(|_| {
            let message = format!("the TLS handshake was not done within {:?}", self.limit);
            SendError::new(FailureReason::Tls, message)
        })??;
        Ok(Dialled {
            stream: Either::Right(Box::new(secured.stream)),
            is_http2: secured.is_http2,
            certificate_expires: secured.certificate_expires,
        })
    }

    /// The addresses that may be dialled, at least one: denied ones are left out.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, SendError> {
        let found = match &origin.host {
            Host::Address(ip) => Arc::from([*ip]),
            Host::Name(name) => self.resolver.addresses(name, self.limit).await?,
        };
        let mut allowed = Vec::with_capacity(found.len());
        let mut denied = None;
        for ip in found.iter() {
            let address = SocketAddr::new(*ip, origin.port);
            match self.policy.check(address, origin.server_name.is_some()) {
                Ok(()) => allowed.push(address),
                Err(reason) => denied = Some(reason),
            }
        }
        match denied {
            Some(reason) if allowed.is_empty() => Err(SendError::blocked(reason)),
            _ => Ok(allowed),
        }
    }
}

/// Tries the addresses, each a little after the one before (RFC 8305 section 5) or as soon as one fails; the first that
/// answers wins. All are begun within half of `time`, so that one silent address costs no attempt.
async fn connect(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    time: Duration,
) -> Result<TcpStream, SendError> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let pause = ATTEMPT_DELAY.min(time / 2 / count);
    let mut failure = SendError::new(FailureReason::Connect, "no address to connect to");
    let mut waiting = interleaved(addresses).into_iter();
    let mut opening = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            failure.message = format!("could not connect to {address}: no answer in time");
            opening.push(open(address).map(move |opened| (address, opened)));
        } else if opening.is_empty() {
            return Err(failure);
        }
        let until = match waiting.len() {
            0 => deadline,
            _ => deadline.min(Instant::now() + pause),
        };
        match timeout_at(until, opening.next()).await {
            Ok(Some((_, Ok(stream)))) => return Ok(stream),
            Ok(Some((address, Err(error)))) => {
                let message = format!("could not connect to {address}: {}", error.kind());
                let failed = SendError::of_system(FailureReason::Connect, message, &error);
                // A lack of our own is no fault of the endpoint, whatever its other addresses did.
                let is_own_lack = failure.is_own_lack || failed.is_own_lack;
                failure = SendError {
                    is_own_lack,
                    ..failed
                };
            }
            Ok(None) => {}
            Err(_) if Instant::now() >= deadline => return Err(failure),
            Err(_) => {}
        }
    }
}

/// The addresses with the families in turn, beginning with that of the first (RFC 8305 section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == begins_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    descriptors::admit_delivery(&stream)?;
    // A request is one write: waiting for more to send would only delay it.
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// An address that accepts no connection while the returned values live: its queue of connections is full.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let limit = Duration::from_millis(200);
        while let Ok(opened) = tokio::time::timeout(limit, open(address)).await {
            waiting.push(opened.unwrap());
        }
        (address, listener, waiting)
    }

    #[tokio::test]
    async fn silent_addresses_before_a_good_one_cost_no_attempt() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        let (one, two) = (silent().await, silent().await);
        for time in [Duration::from_secs(2), Duration::from_secs(5)] {
            let deadline = Instant::now() + time;
            let opened = connect(vec![one.0, two.0, good], deadline, time).await;
            assert_eq!(opened.unwrap().peer_addr().unwrap(), good);
            assert!(Instant::now() < deadline);
        }
        let time = Duration::from_millis(300);
        let failed = connect(vec![one.0, two.0], Instant::now() + time, time).await;
        let failed = failed.unwrap_err();
        assert_eq!(failed.reason, FailureReason::Connect);
        assert!(failed.message.ends_with("no answer in time"), "{failed}");
        assert!(!failed.is_own_lack);
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = interleaved(parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]));
        assert_eq!(
            found,
            parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
    }
}
