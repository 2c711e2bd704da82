//! Notifications to systemd, and the sockets that it hands over.
//!
//! The environment is read once, through a function that is passed in. Without `NOTIFY_SOCKET` everything here does
//! nothing. When the process is ready, reloads or stops is decided elsewhere.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::{SendFlags, send};
use sd_notify::NotifyState;

use crate::http_server::Listener;

/// How long the service manager may leave a message waiting.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// The service manager's notification socket, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from the environment.
    ///
    /// # Errors
    /// The socket is named, but cannot be reached.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let Some(path) = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&path)?)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        let number = |name| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let is_ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0);
        Ok(Self {
            socket: Some(socket),
            watchdog: watchdog.map(Duration::from_micros),
        })
    }

    /// READY: everything listens. Also ends a reload.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// RELOADING, with the monotonic time that the service manager waits for; [`Notifier::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
        }
    }

    /// STOPPING: the shutdown has begun.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// How often [`Notifier::alive`] is to be called: twice in the watchdog's interval; `None` without a watchdog.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        Some((self.watchdog? / 2).max(Duration::from_millis(1)))
    }

    /// WATCHDOG: the relay makes progress.
    pub fn alive(&self) {
        // Does not wait: it is sent again.
        self.send_with(
            &[NotifyState::Watchdog],
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }

    /// Waits for a service manager that is slow, but not long.
    fn send(&self, states: &[NotifyState<'_>]) {
        self.send_with(states, SendFlags::NOSIGNAL);
    }

    /// A message that cannot be sent is logged: the relay works without.
    fn send_with(&self, states: &[NotifyState<'_>], flags: SendFlags) {
        let Some(socket) = &self.socket else { return };
        let mut message = String::new();
        for state in states {
            let written = writeln!(message, "{state}");
            debug_assert!(written.is_ok(), "a String takes whatever is written");
        }
        if let Err(error) = send(socket, message.as_bytes(), flags) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

/// A path, or a name in the abstract namespace written with `@`.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

/// Sockets that systemd listens on for us, by their `FileDescriptorName=`.
pub struct ActivatedSockets {
    sockets: ListenFd,
    names: Vec<String>,
}

impl ActivatedSockets {
    /// Takes what was handed over. To be called once, at the very start, while there are no other threads: the variables
    /// `LISTEN_FDS` and `LISTEN_PID` are removed from the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::new(ListenFd::from_env(), &names)
    }

    fn new(sockets: ListenFd, names: &str) -> Self {
        Self {
            names: names.split(':').map(str::to_owned).collect(),
            sockets,
        }
    }

    /// The names of what is there to take.
    #[must_use]
    pub fn names(&self) -> &[String] {
        self.names.get(..self.sockets.len()).unwrap_or(&self.names)
    }

    /// The listening sockets with this name: a unit may have several `ListenStream=`. Empty if there is none, or they were
    /// taken.
    ///
    /// # Errors
    /// One is not a listening TCP or unix socket.
    pub fn take(&mut self, name: &str) -> io::Result<Vec<Listener>> {
        let names = self.names().iter().enumerate();
        let places: Vec<usize> = names
            .filter(|(_, known)| *known == name)
            .map(|(place, _)| place)
            .collect();
        let mut taken = Vec::new();
        for place in places {
            taken.extend(self.take_at(place)?);
        }
        Ok(taken)
    }

    fn take_at(&mut self, place: usize) -> io::Result<Option<Listener>> {
        match self.sockets.take_unix_listener(place) {
            Ok(Some(socket)) => Listener::from_unix(socket).map(Some),
            Ok(None) => Ok(None),
            Err(_) => match self.sockets.take_tcp_listener(place)? {
                Some(socket) => Listener::from_tcp(socket).map(Some),
                None => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A service manager's socket, and the environment that names it.
    struct Manager {
        socket: UnixDatagram,
        variables: HashMap<&'static str, OsString>,
        _folder: tempfile::TempDir,
    }

    impl Manager {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self {
                socket,
                variables: HashMap::from([("NOTIFY_SOCKET", path.into_os_string())]),
                _folder: folder,
            }
        }

        fn notifier(&self) -> Notifier {
            Notifier::new(|name| self.variables.get(name).cloned()).unwrap()
        }

        fn received(&self) -> Option<String> {
            let mut buffer = [0; 256];
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        }
    }

    #[test]
    fn each_state_is_one_message() {
        let manager = Manager::new();
        let notifier = manager.notifier();
        notifier.ready();
        notifier.stopping();
        assert_eq!(manager.received().as_deref(), Some("READY=1\n"));
        assert_eq!(manager.received().as_deref(), Some("STOPPING=1\n"));
        assert_eq!(manager.received(), None);
    }

    #[test]
    fn a_reload_carries_the_monotonic_time_in_the_same_message() {
        let manager = Manager::new();
        manager.notifier().reloading();
        let message = manager.received().unwrap();
        let usec = message
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(usec.trim_end().parse::<u64>().unwrap() > 0, "{message}");
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("sidehook-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let notifier =
            Notifier::new(|wanted| (wanted == "NOTIFY_SOCKET").then(|| format!("@{name}").into()));
        notifier.unwrap().ready();
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), "READY=1\n".len());
    }

    #[test]
    fn without_a_service_manager_nothing_is_said() {
        let notifier = Notifier::new(|_| None).unwrap();
        notifier.ready();
        notifier.reloading();
        assert!(Notifier::new(|_| Some("/nowhere/at/all".into())).is_err());
    }

    #[test]
    fn a_service_manager_that_went_away_stops_nothing() {
        let manager = Manager::new();
        let notifier = manager.notifier();
        drop(manager);
        notifier.ready();
    }

    #[test]
    fn a_service_manager_that_reads_nothing_takes_no_time_of_what_is_said_often() {
        let manager = Manager::new();
        let notifier = manager.notifier();
        let socket = notifier.socket.as_ref().unwrap();
        // Whatever waits for it would wait as long as this test may take.
        socket
            .set_write_timeout(Some(Duration::from_secs(3600)))
            .unwrap();
        for _ in 0..10_000 {
            notifier.alive();
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_an_interval() {
        let mut manager = Manager::new();
        assert_eq!(manager.notifier().watchdog(), None);
        manager.variables.insert("WATCHDOG_USEC", "10000000".into());
        let notifier = manager.notifier();
        assert_eq!(notifier.watchdog(), Some(Duration::from_secs(5)));
        notifier.alive();
        assert_eq!(manager.received().as_deref(), Some("WATCHDOG=1\n"));
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours_to_feed() {
        let mut manager = Manager::new();
        manager.variables.insert("WATCHDOG_USEC", "1000000".into());
        manager.variables.insert("WATCHDOG_PID", "1".into());
        assert_eq!(manager.notifier().watchdog(), None);
        let own = std::process::id().to_string();
        manager.variables.insert("WATCHDOG_PID", own.into());
        assert!(manager.notifier().watchdog().is_some());
    }

    #[test]
    fn sockets_have_the_names_they_were_handed_over_with() {
        let mut sockets = ActivatedSockets::new(ListenFd::empty(), "events:admin");
        assert!(sockets.names().is_empty(), "no socket came with the names");
        assert!(sockets.take("events").unwrap().is_empty());
    }

    /// Runs itself as a process of its own, as systemd would: sockets come in through the environment of a process only.
    #[test]
    fn a_socket_is_taken_by_its_name_and_only_once() {
        if let Some(port) = std::env::var_os("EXPECTED_PORT") {
            return take_in_child(port.to_str().unwrap());
        }
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let test = "systemd::tests::a_socket_is_taken_by_its_name_and_only_once";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env_remove("LISTEN_PID")
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDS_FIRST_FD", "0")
            .env("LISTEN_FDNAMES", "events")
            .env("EXPECTED_PORT", port.to_string())
            .stdin(std::os::fd::OwnedFd::from(socket))
            .output()
            .unwrap();
        assert!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stdout)
        );
    }

    #[tokio::main(flavor = "current_thread")]
    async fn take_in_child(port: &str) {
        let mut sockets = ActivatedSockets::from_environment();
        assert_eq!(sockets.names(), ["events"]);
        assert!(sockets.take("admin").unwrap().is_empty());
        let [listener] = &sockets.take("events").unwrap()[..] else {
            panic!()
        };
        assert_eq!(listener.tcp_address().unwrap().port().to_string(), port);
        assert!(sockets.take("events").unwrap().is_empty());
    }
}
