//! Makes one connection to an origin: resolve, check each address, connect, shake hands.
//!
//! The guard sees the very address that is dialled, for names and literals alike. No proxy of the environment is
//! ever used. What is spoken on the connection is left to `http1` and `http2`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

/// What connecting may take in all: resolving, dialling and the TLS handshake.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A connection, encrypted or not.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// An open connection, and what its handshake told.
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
    /// Opens a connection to `origin` within the limit.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(super) async fn dial(&self, origin: &Origin) -> Result<Dialled, SendError> {
        let deadline = Instant::now() + self.limit;
        let addresses = self.addresses(origin).await?;
        let stream = connect(&addresses, deadline).await?;
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

/// Tries the addresses in turn; each gets an equal share of the time that is left.
async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, SendError> {
    let mut failure = SendError::new(FailureReason::Connect, "no address to connect to");
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let now = Instant::now();
        let shares = u32::try_from(left).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(now) / shares;
        let cause = match timeout_at(now + share, open(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.kind().to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let message = format!("could not connect to {address}: {cause}");
        failure = SendError::new(FailureReason::Connect, message);
    }
    Err(failure)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    descriptors::admit_delivery(&stream)?;
    // A request is one write: waiting for more to send would only delay it.
    stream.set_nodelay(true)?;
    Ok(stream)
}
