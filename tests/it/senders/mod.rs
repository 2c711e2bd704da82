//! The senders of `examples/`: each configuration as it stands there, operated through the API, with a receiver that checks
//! what that sender's customers check. Signatures are computed here from the documented formula, not by the relay's code.

mod eci;
mod hookshot;
mod opentrain;
mod opnform;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::support::http::{Answer, request};
use crate::support::receiver::Receiver;
use crate::support::relay::Relay;

/// What the examples sign with here.
const SECRET: &str = "whsec_c2lkZWhvb2stZXhhbXBsZXMtc2lkZWhvb2s=";

/// A relay with an example as its configuration.
struct Sender {
    relay: Relay,
    token: String,
}

impl Sender {
    /// Starts one with `examples/<name>.yaml`, in which each pair of texts is replaced.
    async fn start(name: &str, replaced: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut text = fs::read_to_string(examples.join(format!("{name}.yaml"))).unwrap();
        for (from, to) in replaced {
            assert!(text.contains(from), "{name}.yaml has no {from}");
            text = text.replace(from, to);
        }
        write_secrets(folder.path(), &text);
        let relay = Relay::start_whole(folder, &text).await;
        // Without one the configuration has tokens of its own.
        let token = fs::read_to_string(relay.folder().join("store/admin.token"));
        let token = token.unwrap_or_default().trim_end().to_owned();
        Self { relay, token }
    }

    /// Calls the API.
    async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_as(&self.token, method, path, body).await
    }

    /// Calls the API with another token.
    async fn call_as(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let mut headers = String::new();
        if !token.is_empty() {
            write!(headers, "Authorization: Bearer {token}\r\n").unwrap();
        }
        if method != "GET" {
            headers.push_str("Content-Type: application/json\r\n");
        }
        let path = format!("/v1{path}");
        request(&self.relay.admin, method, &path, &headers, body)
            .await
            .unwrap()
    }

    /// Changes a subscription and expects that it works; gives what the API answers.
    async fn patch(&self, name: &str, body: &str) -> Value {
        let answer = self
            .call("PATCH", &format!("/subscriptions/{name}"), body)
            .await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        answer.json()
    }

    /// Tries to change a subscription and expects 422; gives the errors by field.
    async fn refused(&self, name: &str, body: &str) -> Value {
        let answer = self
            .call("PATCH", &format!("/subscriptions/{name}"), body)
            .await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        answer.json()["errors"].clone()
    }

    /// A subscription as the API shows it.
    async fn subscription(&self, name: &str) -> Value {
        let answer = self
            .call("GET", &format!("/subscriptions/{name}"), "")
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The file as it is now.
    fn file(&self) -> String {
        fs::read_to_string(self.relay.folder().join("config.yaml")).unwrap()
    }
}

/// Puts a secret where the example says that there is one.
fn write_secrets(folder: &Path, example: &str) {
    for line in example.lines() {
        let Some((_, rest)) = line.split_once("{file: ") else {
            continue;
        };
        let path: PathBuf = folder.join(rest.split('}').next().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, SECRET).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// `hash_hmac('sha256', $signed, $secret)`: hexadecimal, lower case.
fn hmac_hex(secret: &str, signed: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed);
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// The URL of a receiver's path, with the part of an example that it takes the place of.
fn at<'a>(example: &'a str, url: &'a str) -> [(&'a str, &'a str); 1] {
    [(example, url)]
}

/// Waits until the API shows a value at a pointer of a subscription.
async fn until_shown(sender: &Sender, name: &str, pointer: &str, value: &Value) {
    crate::support::until(&format!("{name} shows {pointer} {value}"), async || {
        sender.subscription(name).await.pointer(pointer) == Some(value)
    })
    .await;
}

/// Waits for the next request of a receiver after `before`.
async fn next(receiver: &Receiver, before: usize) -> crate::support::receiver::Received {
    let received = receiver
        .wait_for(before + 1, crate::support::DEADLINE)
        .await;
    received[before].clone()
}
