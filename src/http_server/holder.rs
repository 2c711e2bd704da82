//! The holder of an address that was to be bound: another sidehook, another program, or this very process.
//!
//! A sidehook identifies itself in headers of its answer to `GET /healthz`, on each listener, but only to callers on
//! this machine: [`conceal`] removes these headers from answers to others. The listener may be
//! anything: it is asked for a quarter of a second, little is read of it, and only what looks like a version is shown.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::domain::{Clock, SystemClock};

/// The version of the sidehook that answers.
const VERSION: HeaderName = HeaderName::from_static("sidehook-version");
/// Whose store it has: the same for all its listeners.
const INSTANCE: HeaderName = HeaderName::from_static("sidehook-instance");

/// Connecting, and all of the answer, take this at most.
const WAIT: Duration = Duration::from_millis(250);
/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 4096;
/// Open files of processes that are looked at.
const FILES_MAX: usize = 65_536;
/// The request. The host is one that every listener takes.
const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Identifies the sidehook in the headers of an answer.
pub(crate) fn identify(headers: &mut HeaderMap, instance: &str) {
    headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    if let Ok(instance) = HeaderValue::from_str(instance) {
        headers.insert(INSTANCE, instance);
    }
}

/// Whether the caller from `peer` at our address `local` is on this machine, as [`Holder::of_tcp`] is.
pub(super) fn is_near(peer: SocketAddr, local: SocketAddr) -> bool {
    let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer.is_loopback() || peer == local
}

/// Takes the headers of [`identify`] from the answer to a caller on another machine.
pub(super) fn conceal(headers: &mut HeaderMap) {
    headers.remove(VERSION);
    headers.remove(INSTANCE);
}

/// The holder of an address, as far as it can be determined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// It is a sidehook.
    sidehook: Option<Sidehook>,
    /// The number and command of the process, where the system reports them.
    process: Option<(u32, String)>,
}

/// A sidehook that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sidehook {
    version: String,
    instance: Option<String>,
}

impl Holder {
    /// Asks at a TCP address, which may be that of all interfaces.
    pub(super) fn of_tcp(at: SocketAddr) -> Self {
        let ip = match at.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let to = SocketAddr::new(ip, at.port());
        let answer = TcpStream::connect_timeout(&to, WAIT).and_then(ask);
        Self {
            sidehook: answer.ok().and_then(|answer| identified(&answer)),
            process: listening(at.port()),
        }
    }

    /// Asks at a unix socket.
    pub(super) fn of_unix(stream: UnixStream) -> Self {
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
        let process = peer.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok());
        let answer = ask(stream);
        Self {
            sidehook: answer.ok().and_then(|answer| identified(&answer)),
            process: process.map(named),
        }
    }

    /// Whether it is the sidehook that has the store of this instance.
    #[must_use]
    pub fn is_instance(&self, instance: &str) -> bool {
        let found = self.sidehook.as_ref().and_then(|it| it.instance.as_deref());
        found == Some(instance)
    }
}

impl Holder {
    /// Whether it is this process.
    #[must_use]
    pub fn is_process(&self, id: u32) -> bool {
        self.process.as_ref().is_some_and(|(known, _)| *known == id)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = std::process::id();
        match (&self.sidehook, &self.process) {
            (_, Some((id, _))) if *id == own => f.write_str("another listener of this process"),
            (Some(Sidehook { version, .. }), None) => {
                write!(f, "another sidehook (version {version})")
            }
            (Some(Sidehook { version, .. }), Some((id, _))) => {
                write!(f, "another sidehook (version {version}, process {id})")
            }
            (None, Some((id, command))) => write!(f, "process {id} ({command})"),
            (None, None) => f.write_str("another process"),
        }
    }
}

/// The beginning of the answer to [`QUESTION`], up to the end of its head.
fn ask(mut stream: impl Read + Write + AsFd) -> io::Result<Vec<u8>> {
    let clock = SystemClock::new();
    let until = clock.steady().plus(WAIT);
    let limit = |stream: &dyn AsFd, left| {
        set_socket_timeout(stream.as_fd(), Timeout::Recv, Some(left))?;
        set_socket_timeout(stream.as_fd(), Timeout::Send, Some(left))
    };
    limit(&stream, WAIT)?;
    stream.write_all(QUESTION)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while answer.len() <= ANSWER_MAX && !answer.windows(4).any(|it| it == b"\r\n\r\n") {
        let left = until.since(clock.steady());
        if left.is_zero() {
            break;
        }
        limit(&stream, left)?;
        match stream.read(&mut buffer)? {
            0 => break,
            count => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(answer)
}

/// The sidehook that the head of an answer names; `None` if it is of something else.
fn identified(answer: &[u8]) -> Option<Sidehook> {
    let head = std::str::from_utf8(answer.get(..answer.len().min(ANSWER_MAX))?).ok()?;
    if !head.starts_with("HTTP/1.") {
        return None;
    }
    let (head, _) = head.split_once("\r\n\r\n")?;
    let value = |wanted: &HeaderName| {
        let mut lines = head.lines().skip(1);
        lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
            let is_plain = (1..=32).contains(&value.len()) && value.bytes().all(is_plain);
            let is_wanted = name.eq_ignore_ascii_case(wanted.as_str());
            (is_wanted && is_plain).then(|| value.to_owned())
        })
    };
    Some(Sidehook {
        version: value(&VERSION)?,
        instance: value(&INSTANCE),
    })
}

/// The process that listens on a port, if the system shows it: that of another user it does not.
/// Source: proc_net_tcp.txt of the kernel, proc_pid_fd(5).
fn listening(port: u16) -> Option<(u32, String)> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_in(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let mut left = FILES_MAX;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for file in files.flatten() {
            left = left.checked_sub(1)?;
            let link = fs::read_link(file.path()).unwrap_or_default();
            if sockets.iter().any(|socket| Path::new(socket) == link) {
                return Some(named(id));
            }
        }
    }
    None
}

/// The inodes of sockets that listen on a port.
fn listening_in(table: &str, port: u16) -> Vec<String> {
    let port = format!("{port:04X}");
    let found = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, local) = fields.nth(1)?.split_once(':')?;
        // 0A: TCP_LISTEN.
        let is_listening = fields.nth(1)? == "0A" && local == port;
        let inode = fields.nth(5)?;
        is_listening.then(|| inode.to_owned())
    });
    found.collect()
}

/// The users whose sockets listen where a connection to this address of this machine would arrive; empty if the system
/// shows none.
pub(crate) fn listening_users(at: SocketAddr) -> Vec<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let read = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    let found = read.map(|table| users_in(&table, at));
    let (mut exact, mut wild) = (Vec::new(), Vec::new());
    for (of_address, of_all) in found {
        exact.extend(of_address);
        wild.extend(of_all);
    }
    // The most specific listener gets the connection.
    if exact.is_empty() { wild } else { exact }
}

/// The users of sockets that listen at exactly this address, and of those that listen at all addresses.
fn users_in(table: &str, at: SocketAddr) -> (Vec<u32>, Vec<u32>) {
    let port = format!("{:04X}", at.port());
    let address = in_table(at.ip().to_canonical());
    let (mut exact, mut wild) = (Vec::new(), Vec::new());
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let [_, local, _, "0A", _, _, _, user] = fields[..] else {
            continue;
        };
        let (Some((ip, at_port)), Ok(user)) = (local.split_once(':'), user.parse()) else {
            continue;
        };
        if at_port != port {
            continue;
        }
        if address.iter().any(|address| address == ip) {
            exact.push(user);
        } else if ip.bytes().all(|digit| digit == b'0') {
            wild.push(user);
        }
    }
    (exact, wild)
}

/// How the tables of the kernel write an address: words of the machine's byte order, and IPv4 within IPv6 as well.
fn in_table(ip: IpAddr) -> Vec<String> {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(bytes))
    };
    let of_v6 = |ip: Ipv6Addr| ip.octets().chunks(4).map(word).collect();
    match ip {
        IpAddr::V4(ip) => vec![word(&ip.octets()), of_v6(ip.to_ipv6_mapped())],
        IpAddr::V6(ip) => vec![of_v6(ip)],
    }
}

/// A process with its command, which may be any text.
fn named(id: u32) -> (u32, String) {
    let command = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    (id, command.trim_end().escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The sidehook at a port whose listener answers so, byte for byte.
    fn holder_that_says(answer: &[u8]) -> Option<Sidehook> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let answer = answer.to_vec();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&answer).ok();
            // Until the asker has had enough.
            while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        });
        let found = Holder::of_tcp(at).sidehook;
        thread.join().unwrap();
        found
    }

    #[test]
    fn a_sidehook_says_its_version() {
        let mut headers = HeaderMap::new();
        identify(&mut headers, "0123456789abcdef");
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\n{}\r\n",
            lines.collect::<String>()
        );
        let found = Holder {
            sidehook: holder_that_says(answer.as_bytes()),
            process: Some((7, "sidehook".to_owned())),
        };
        assert!(found.is_instance("0123456789abcdef") && !found.is_instance("other"));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            found.to_string(),
            format!("another sidehook (version {version}, process 7)")
        );
    }

    #[test]
    fn what_answers_something_else_is_none_and_nothing_of_it_is_shown() {
        let long = [b"HTTP/1.1 200 OK\r\n".as_slice(), &[b'a'; 9000]].concat();
        for answer in [
            b"".as_slice(),
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nsidehook-version: \x1b[31m0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nsidehook-version: 0.1.0\r\n",
            b"HTTP/1.1 200 OK\r\nsidehook-version: 0123456789012345678901234567890123\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nsidehook-version: 0.1.0\r\n\r\n",
            &[0xff; 100],
            &long,
        ] {
            assert_eq!(holder_that_says(answer), None);
        }
    }

    #[test]
    fn only_callers_on_this_machine_are_near_and_others_learn_nothing() {
        let near = |peer: &str, local: &str| is_near(peer.parse().unwrap(), local.parse().unwrap());
        assert!(near("127.0.0.1:4000", "127.0.0.1:80") && near("[::1]:4000", "[::1]:80"));
        assert!(near("[::ffff:127.0.0.1]:4000", "[::ffff:127.0.0.1]:80"));
        assert!(near("10.0.0.7:4000", "10.0.0.7:80"));
        assert!(!near("10.0.0.8:4000", "10.0.0.7:80") && !near("[fd00::2]:4000", "[fd00::1]:80"));
        let mut headers = HeaderMap::new();
        identify(&mut headers, "0123456789abcdef");
        assert_eq!(headers.len(), 2);
        conceal(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_listener_of_this_process_is_found_and_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = Holder::of_tcp(listener.local_addr().unwrap());
        assert_eq!(holder.to_string(), "another listener of this process");
    }

    #[test]
    fn sockets_that_listen_are_read_from_the_table_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:224C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100007F:224C 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0000000000000000 100 0 0 10 0
   2: 0100007F:224D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12347 1 0000000000000000 100 0 0 10 0
";
        assert_eq!(listening_in(table, 8780), ["12345"]);
        assert!(listening_in("nonsense\nnonsense\n", 8780).is_empty());
    }

    #[test]
    fn the_user_of_a_listener_is_read_from_the_table_of_the_kernel() {
        let own = rustix::process::geteuid().as_raw();
        for bound in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            assert_eq!(listening_users(at), [own], "{bound}");
            drop(listener);
            assert!(listening_users(at).is_empty(), "{bound}");
        }
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:224C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 1 1 0000000000000000 100 0 0 10 0
   1: 00000000:224C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     8        0 2 1 0000000000000000 100 0 0 10 0
   2: 0200007F:224C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     9        0 3 1 0000000000000000 100 0 0 10 0
";
        let at = "127.0.0.1:8780".parse().unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(users_in(table, at), (vec![7], vec![8]));
        }
        assert_eq!(users_in("nonsense\nnonsense\n", at), (vec![], vec![]));
    }

    #[test]
    fn other_holders_are_told_by_process() {
        let process = Some((7, "nginx".to_owned()));
        let of = |process| Holder {
            sidehook: None,
            process,
        };
        assert_eq!(of(process).to_string(), "process 7 (nginx)");
        assert_eq!(of(None).to_string(), "another process");
    }
}
