//! Shared parts of this module's tests: raw servers on loopback, certificates, clients that may dial them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::resolver::Resolver;
use super::{AddressPolicy, Answer, Client, ClientOptions, Egress, Roots, SendError, TlsVersion};

/// Longer than any answer here takes, shorter than a person alerts.
pub(super) const TIMEOUT: Duration = Duration::from_millis(400);

/// Listens on loopback and treats each connection with `behaviour`, which also gets its number from 0.
pub(super) async fn listen<F, Fut>(behaviour: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(behaviour(stream, number));
        }
    });
    address
}

/// Reads one request with its body; `None` at the end of the connection.
pub(super) async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}

/// A policy that lets loopback be dialled.
pub(super) fn loopback() -> Arc<AddressPolicy> {
    Arc::new(AddressPolicy {
        allow_private: vec!["127.0.0.0/8".parse().unwrap()],
        ..AddressPolicy::default()
    })
}

pub(super) fn options() -> ClientOptions {
    ClientOptions {
        http2: true,
        roots: None,
        min_version: TlsVersion::Tls12,
        idle_connections: 4,
    }
}

/// A client for plain HTTP to loopback.
pub(super) fn client() -> Client {
    Egress::new().client(&options(), loopback())
}

/// An [`Egress`] whose names have the addresses that `answer` gives.
pub(super) fn egress_resolving(
    answer: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
) -> Egress {
    Egress::with_resolver(Resolver::asking(Arc::new(move |name| {
        let answer = answer(&name);
        async move { Ok(answer) }.boxed()
    })))
}

pub(super) fn post(uri: impl Into<String>) -> Request<Full<Bytes>> {
    Request::post(uri.into())
        .body(Full::from("{\"a\":1}"))
        .unwrap()
}

/// Sends one request to a plain server.
pub(super) async fn send_to(address: SocketAddr) -> Result<Answer, SendError> {
    client()
        .send(post(format!("http://{address}/hook?token=canary")), TIMEOUT)
        .await
}

/// A CA of a test, and the server configurations that it vouches for.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn pem(&self) -> Arc<[u8]> {
        self.0.pem().into_bytes().into()
    }

    pub(super) fn roots(&self) -> Roots {
        Roots::read(&self.pem()).unwrap()
    }

    /// A certificate for `name`, changed by `change`.
    pub(super) fn acceptor(
        &self,
        name: &str,
        alpn: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A client that trusts only this CA.
    pub(super) fn client(&self) -> Client {
        let options = ClientOptions {
            roots: Some(self.roots()),
            ..options()
        };
        egress_resolving(|_| vec![[127, 0, 0, 1].into()]).client(&options, loopback())
    }
}
