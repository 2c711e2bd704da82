//! Sockets that connections come in by: bound here, or handed over by systemd.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};

use crate::http_server::holder::Holder;
use crate::http_server::limits::Peer;
use crate::http_server::places::Caller;
use crate::http_server::watched::Stream;
use crate::private;

/// Connections that may wait in the backlog; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// How often a free port is sought that is free at all addresses of a host.
const PORT_TRIES: usize = 8;

/// Connections of the backlog that are served when listening ends.
const BACKLOG_MAX: usize = 128;

/// How often the lock of a socket's folder is tried, and the pause between: 200 ms in all. The folder of a
/// store is locked for good.
const TURN_TRIES: usize = 20;
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// The users who may connect to a unix socket: its user and group.
const SOCKET_MODE: u32 = 0o660;

/// A bound socket. Tests bind port 0.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix socket, with the file that is removed at the end, if it is ours. The file goes first, while the socket
    /// still answers: so no other process can have taken the path over meanwhile.
    Unix(Option<SocketFile>, UnixListener),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket could not be made or bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address as configured.
        address: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Another listener has the address.
    #[error("{address} is in use by {holder}")]
    InUse {
        /// The address as configured, and as it was resolved.
        address: String,
        /// Its holder.
        holder: Box<Holder>,
    },
    /// Something else than a socket is in the way.
    #[error("cannot listen on {0}: a file that is no socket is in its place")]
    NotASocket(PathBuf),
}

impl BindError {
    fn new(address: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Bind {
            address: address.into(),
            source: source.into(),
        }
    }

    /// Why this address of a host cannot be bound.
    fn of_tcp(address: &str, at: SocketAddr, error: io::Error) -> Self {
        let shown = at.to_string();
        let shown = if shown == address {
            shown
        } else {
            format!("{address} ({shown})")
        };
        if error.kind() == io::ErrorKind::AddrInUse {
            let holder = Box::new(Holder::of_tcp(at));
            let address = shown;
            return Self::InUse { address, holder };
        }
        Self::new(shown, error)
    }
}

impl Listener {
    /// Binds `host:port` at every address of the host, such as both of `localhost`: a client may try either.
    /// Port 0 is any free one, the same for all. Addresses in `taken` are passed over.
    ///
    /// # Errors
    /// [`BindError::Bind`]: a name that cannot be resolved, a port in use or not permitted, no address of this machine.
    pub async fn tcp(address: &str, taken: &[SocketAddr]) -> Result<Vec<Self>, BindError> {
        let failed = |error| BindError::new(address, error);
        let mut found: Vec<SocketAddr> = lookup_host(address).await.map_err(failed)?.collect();
        let mut seen: HashSet<_> = taken.iter().copied().collect();
        found.retain(|at| seen.insert(*at));
        let mut tries = 0..PORT_TRIES;
        loop {
            let is_last = tries.next().is_none();
            match bind_all(&found, listen_tcp) {
                // The port was free for one family but not for the other.
                Err((at, error))
                    if at.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && !is_last => {}
                Err((at, error)) => return Err(BindError::of_tcp(address, at, error)),
                Ok(listeners) => return Ok(listeners),
            }
        }
    }

    /// Binds a unix socket with mode 0660. A socket file that a dead process left behind is replaced.
    ///
    /// # Errors
    /// [`BindError::InUse`] when there is a listener, [`BindError::NotASocket`], [`BindError::Bind`].
    pub async fn unix(path: &Path) -> Result<Self, BindError> {
        let failed = |error: io::Error| BindError::new(format!("unix:{}", path.display()), error);
        let turn = turn(path).await;
        match place(path)? {
            Place::Free => {}
            Place::Stale => std::fs::remove_file(path).map_err(failed)?,
            Place::Held(by) => {
                // Others have not to wait until it has answered.
                drop(turn);
                return Err(by.in_use(path));
            }
        }
        let socket = bind_unix(path).map_err(|error| failed(error.into()))?;
        let file = SocketFile::new(path);
        drop(turn);
        let listener = UnixListener::from_std(socket).map_err(failed)?;
        Ok(Self::Unix(Some(file), listener))
    }

    /// Takes over a TCP socket that listens already.
    ///
    /// # Errors
    /// The error of the system, for example when there is no runtime.
    pub fn from_tcp(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Self::Tcp)
    }

    /// Takes over a unix socket that listens already; its file belongs to the process that made it.
    ///
    /// # Errors
    /// The error of the system, for example when there is no runtime.
    pub fn from_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(|listener| Self::Unix(None, listener))
    }

    /// The TCP address that is listened on; `None` for a unix socket.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// The path of a unix socket; `None` for TCP, and for one without a path.
    #[must_use]
    pub fn unix_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, listener) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(Path::to_owned)
            }
        }
    }

    /// The kind of connection to this listener.
    #[must_use]
    pub fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_) => Peer::Tcp {
                loopback: self
                    .tcp_address()
                    .is_some_and(|address| address.ip().to_canonical().is_loopback()),
            },
            Self::Unix(..) => Peer::Unix,
        }
    }

    /// The next connection. Answers are sent without waiting for more to send (TCP_NODELAY).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                of_tcp(stream, address)
            }
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(of_unix(stream))
            }
        }
    }

    /// Ends listening, and returns connections that were not accepted yet: closing alone would cut them off. The
    /// system is asked, as the runtime may not have noticed them yet.
    pub(super) fn into_backlog(self) -> Vec<(Stream, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return Vec::new();
                };
                let accept = || {
                    let (stream, address) = listener.accept().ok()?;
                    stream.set_nonblocking(true).ok()?;
                    of_tcp(TcpStream::from_std(stream).ok()?, address).ok()
                };
                std::iter::from_fn(accept).take(BACKLOG_MAX).collect()
            }
            Self::Unix(file, listener) => {
                drop(file);
                let Ok(listener) = listener.into_std() else {
                    return Vec::new();
                };
                let accept = || {
                    let (stream, _) = listener.accept().ok()?;
                    stream.set_nonblocking(true).ok()?;
                    Some(of_unix(UnixStream::from_std(stream).ok()?))
                };
                std::iter::from_fn(accept).take(BACKLOG_MAX).collect()
            }
        }
    }
}

fn of_tcp(stream: TcpStream, address: SocketAddr) -> io::Result<(Stream, Caller)> {
    stream.set_nodelay(true)?;
    Ok((Stream::Tcp(stream), Caller::of_address(address.ip())))
}

fn of_unix(stream: UnixStream) -> (Stream, Caller) {
    let credentials = stream.peer_cred();
    let caller = credentials.map_or(Caller::Unknown, |it| Caller::User(it.uid()));
    (Stream::Unix(stream), caller)
}

/// The file of a unix socket of ours; removed when dropped, unless another is in its place by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: identity(path),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) != self.identity {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "socket file was not removed");
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A lock on the folder of a socket: of two processes that find the same stale file, the second would otherwise remove what
/// the first has just bound. Without it in time a process goes on: even a user who may only read can hold it.
async fn turn(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..TURN_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK | Errno::INTR) => tokio::time::sleep(TURN_PAUSE).await,
            Err(_) => return None,
        }
    }
    None
}

/// The state of a path for a socket.
enum Place {
    Free,
    /// A socket without a listener.
    Stale,
    /// A socket with a listener.
    Held(Held),
}

/// A connection to the listener of a socket; `None` where too many others wait for one.
struct Held(Option<OwnedFd>);

impl Held {
    /// Asks the listener to identify itself.
    fn in_use(self, path: &Path) -> BindError {
        let holder = self.0.map(|socket| Holder::of_unix(socket.into()));
        BindError::InUse {
            address: format!("unix:{}", path.display()),
            holder: Box::new(holder.unwrap_or_default()),
        }
    }
}

/// Looks at what a path has; something else than a socket is in the way.
fn place(path: &Path) -> Result<Place, BindError> {
    let failed = |error: io::Error| BindError::new(format!("unix:{}", path.display()), error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::Free),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let connect = || -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::io::ioctl_fionbio(&socket, false)?;
        Ok(socket)
    };
    match connect() {
        Ok(socket) => Ok(Place::Held(Held(Some(socket)))),
        // As many wait to be accepted as may.
        Err(Errno::AGAIN) => Ok(Place::Held(Held(None))),
        Err(Errno::CONNREFUSED) => Ok(Place::Stale),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The addresses of `host:port`, each once. Blocks while the name is resolved.
///
/// # Errors
/// [`BindError::Bind`]: the name cannot be resolved.
pub(crate) fn resolve(address: &str) -> Result<Vec<SocketAddr>, BindError> {
    let failed = |error| BindError::new(address, error);
    let mut found: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    let mut seen = HashSet::new();
    found.retain(|at| seen.insert(*at));
    Ok(found)
}

/// Checks whether [`Listener::tcp`] would bind the addresses of `address`, by binding without listening. Blocks.
///
/// # Errors
/// As for [`Listener::tcp`].
pub(crate) fn check_tcp(address: &str, found: &[SocketAddr]) -> Result<(), BindError> {
    let bind = |at: SocketAddr| Ok((drop(bind_tcp(at)?), at.port()));
    let bound = bind_all(found, bind);
    bound.map_err(|(at, error)| BindError::of_tcp(address, at, error))?;
    Ok(())
}

/// Checks what [`Listener::unix`] would do, without making or removing anything. Blocks.
///
/// # Errors
/// As for [`Listener::unix`].
pub(crate) fn check_unix(path: &Path) -> Result<(), BindError> {
    if let Place::Held(by) = place(path)? {
        return Err(by.in_use(path));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let may = SocketAddrUnix::new(path).map_err(io::Error::from);
    let may = may.and_then(|_| private::check_writable(folder));
    may.map_err(|error| BindError::new(format!("unix:{}", path.display()), error))
}

/// Binds those of these addresses that this machine has; `bind` gives the port, too. The first error of another kind, with
/// its address as it was asked for.
fn bind_all<T>(
    found: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> io::Result<(T, u16)>,
) -> Result<Vec<T>, (SocketAddr, io::Error)> {
    let mut all = Vec::new();
    let (mut absent, mut port) = (None, 0);
    for asked in found {
        let mut at = *asked;
        if at.port() == 0 {
            at.set_port(port);
        }
        match bind(at) {
            Ok((bound, at_port)) => {
                port = at_port;
                all.push(bound);
            }
            Err(error) if is_elsewhere(&error) => absent = Some((*asked, error)),
            Err(error) => return Err((*asked, error)),
        }
    }
    match absent {
        Some(absent) if all.is_empty() => Err(absent),
        Some(_) | None => Ok(all),
    }
}

fn listen_tcp(at: SocketAddr) -> io::Result<(Listener, u16)> {
    let socket = bind_tcp(at)?;
    // Longer than the default: a client beyond it waits a second before it tries again.
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let port = listener.local_addr()?.port();
    Ok((Listener::Tcp(listener), port))
}

/// Binds, and may do so while connections of an earlier process are still ending.
fn bind_tcp(at: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    Ok(socket)
}

/// Whether this machine does not have an address, or its family.
fn is_elsewhere(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
    )
}

/// Binds and listens. The mode is set before the file is there, and again after for what the umask took from it: at no
/// time can others connect.
fn bind_unix(path: &Path) -> rustix::io::Result<std::os::unix::net::UnixListener> {
    let mode = Mode::from_raw_mode(SOCKET_MODE);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, mode)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, mode)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
