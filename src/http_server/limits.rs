//! The limits of one listener, and the kinds of its connections.

use std::time::Duration;

/// Limits of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at the same time, 1 or more; for a further one another must leave, or it waits. Default 1,024.
    pub connections: usize,
    /// From the first byte of a request head to its end; then the answer is 408. Default 5 s.
    pub head_timeout: Duration,
    /// A connection on which no request begins, or whose answer is not taken, is closed after this. Default 75 s.
    pub idle_timeout: Duration,
    /// An answer of which the other side takes less than 16 KiB in this time is cut off. Default 10 s.
    pub answer_timeout: Duration,
    /// Bytes of a request head at most; beyond it the answer is 431. At most 64 KiB. Default 16 KiB.
    pub head_bytes: usize,
    /// How long requests under way may take once stopping; then they are cut. Default 25 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            answer_timeout: Duration::from_secs(10),
            head_bytes: 16 << 10,
            drain_timeout: Duration::from_secs(25),
        }
    }
}

/// The kind of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Tcp {
        /// The listener is bound to a loopback address.
        loopback: bool,
    },
    /// A unix socket.
    Unix,
}
