//! Binding, and what is in the way of it.

use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::tests::{GET, limits, read_until};
use super::*;

#[tokio::test]
async fn a_unix_socket_is_for_its_group_and_goes_with_its_listener() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sock");
    let listener = Listener::unix(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(listener.peer(), Peer::Unix);
    let service = tower::service_fn(|_: Request<RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
    });
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, move |_| service, limits(), stop.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "hello").await;
    stop.cancel();
    task.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn only_a_socket_that_nobody_answers_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let living = Listener::unix(&path).await.unwrap();
    let second = Listener::unix(&path).await;
    assert!(matches!(second, Err(BindError::InUse { .. })));
    drop(living);
    std::fs::write(&path, "precious").unwrap();
    let second = Listener::unix(&path).await;
    assert!(matches!(second, Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_name_is_listened_on_at_all_its_addresses() {
    let listeners = Listener::tcp("localhost:0", &[]).await.unwrap();
    let found = tokio::net::lookup_host("localhost:0").await.unwrap();
    let bindable = found.filter(|at| std::net::TcpListener::bind(at).is_ok());
    let expected: std::collections::BTreeSet<_> = bindable.map(|at| at.ip()).collect();
    let addresses: Vec<_> = listeners.iter().filter_map(Listener::tcp_address).collect();
    let ips: std::collections::BTreeSet<_> =
        addresses.iter().map(std::net::SocketAddr::ip).collect();
    assert_eq!(ips, expected);
    assert!(addresses.iter().all(|at| at.port() == addresses[0].port()));
}

#[tokio::test]
async fn what_cannot_be_bound_is_said() {
    let taken = Listener::tcp("127.0.0.1:0", &[]).await.unwrap().remove(0);
    let address = taken.tcp_address().unwrap().to_string();
    let error = Listener::tcp(&address, &[]).await.unwrap_err();
    let expected = format!("{address} is in use by another listener of this process");
    assert_eq!(error.to_string(), expected);
    let found = resolve(&address).unwrap();
    assert_eq!(
        check_tcp(&address, &found).unwrap_err().to_string(),
        expected
    );
    drop(taken);
    check_tcp(&address, &found).unwrap();
    let missing = Path::new("/nonexistent/events.sock");
    let error = Listener::unix(missing).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot listen on unix:/nonexistent/events.sock"
    );
    assert_eq!(
        check_unix(missing).unwrap_err().to_string(),
        error.to_string()
    );
}

#[tokio::test]
async fn what_is_checked_of_a_unix_socket_is_what_binding_says_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sock");
    check_unix(&path).unwrap();
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    check_unix(&path).unwrap();
    assert!(path.exists(), "left for who starts");
    let living = Listener::unix(&path).await.unwrap();
    assert!(matches!(check_unix(&path), Err(BindError::InUse { .. })));
    drop(living);
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(check_unix(&path), Err(BindError::NotASocket(_))));
    let long = folder.path().join("x".repeat(108));
    assert!(check_unix(&long).is_err() && Listener::unix(&long).await.is_err());
}

#[test]
fn of_many_that_find_a_stale_socket_one_gets_it_and_keeps_it() {
    const MANY: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    for _ in 0..100 {
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(MANY);
        let bind = || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            start.wait();
            let listener = runtime.block_on(Listener::unix(&path)).ok()?;
            // The others ask for the holder, each once; a closed connection is no answer.
            let answered = async {
                for _ in 1..MANY {
                    drop(listener.accept().await);
                }
            };
            let waited = async { tokio::time::timeout(Duration::from_secs(1), answered).await };
            let waited = runtime.block_on(waited);
            waited.ok().map(|()| (listener, runtime))
        };
        let bound: Vec<_> = std::thread::scope(|scope| {
            let threads: [_; MANY] = std::array::from_fn(|_| scope.spawn(bind));
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.flatten().collect()
        });
        assert_eq!(bound.len(), 1);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        for (listener, runtime) in bound {
            let _inside = runtime.enter();
            drop(listener);
        }
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_socket_file_that_another_has_put_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let first = Listener::unix(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Listener::unix(&path).await.unwrap();
    drop(first);
    UnixStream::connect(&path).await.unwrap();
    drop(second);
    assert!(!path.exists());
}
