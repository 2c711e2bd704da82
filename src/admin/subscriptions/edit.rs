//! Changes of subscriptions. Those of a definition change the file that holds it, and are in force when they are
//! answered; `status` is state at run time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::admin::answer::{Answer, json};
use crate::admin::body::{Fields, TEXT_EXPECTED};
use crate::admin::control::{Command, EditDone, EditRefusal, EditRequest};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::state::NO_SUBSCRIPTION;
use crate::admin::subscriptions::view::{is_state, show};
use crate::api::{self, Rotation};
use crate::config::{Change, EditError, READ_ONLY, parse_duration};
use crate::domain::{Secret, StatusError, SubscriptionName, SubscriptionNumber, list_elements};
use crate::store::OperationError;

/// The most bytes of a secret that is given, as of one in a file.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// How long an old secret signs along by default.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Random bytes of a secret that is made.
const SECRET_BYTES: usize = 32;
/// Attempts in flight of a subscription that is deleted may take this long to end, whatever its `timeout`.
const CANCEL_PATIENCE: Duration = Duration::from_secs(60);
/// How long a deletion may take.
pub(in crate::admin) const DELETE_PATIENCE: Duration = Duration::from_secs(75);
/// Between two looks whether attempts in flight have ended.
const CANCEL_PAUSE: Duration = Duration::from_millis(50);

/// `PATCH`: each field that is named is replaced whole.
pub(in crate::admin) async fn patch(mut call: Call) -> Result<Answer, Refusal> {
    let name = known(&call)?;
    let enable = status(&mut call.body)?;
    same_name(&mut call.body, &name)?;
    let is_read_only = |name: &&String| is_read_only(name);
    let told = |name: &String| (name.clone(), "it only tells, and cannot be set".to_owned());
    let errors: Vec<_> = call.body.keys().filter(is_read_only).map(told).collect();
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    let fields = std::mem::take(&mut call.body);
    let change = (!fields.is_empty()).then_some(Change::Patch(fields));
    perform(&call, &name, change, enable).await?;
    shown(&call, &name, None).await
}

/// `PUT`: the definition is replaced. The answer of `GET` can be put back: read-only fields are ignored.
pub(in crate::admin) async fn put(mut call: Call) -> Result<Answer, Refusal> {
    let name = known(&call)?;
    let enable = status(&mut call.body)?;
    same_name(&mut call.body, &name)?;
    let number = call.admin.store.subscription(&name);
    let is_active = call.admin.store.state(number).status().is_active();
    // An unchanged status was most likely copied from GET, and is no request to change it.
    let enable = enable.filter(|enable| *enable != is_active);
    let fields = definition(&mut call.body);
    perform(&call, &name, Some(Change::Replace(fields)), enable).await?;
    shown(&call, &name, None).await
}

/// `POST`: a new one.
pub(in crate::admin) async fn create(mut call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = match call.body.shift_remove("name") {
        Some(Value::String(text)) => text.parse().map_err(|error: crate::domain::NameError| {
            Refusal::invalid_at("name", error.to_string())
        })?,
        Some(_) => return Err(Refusal::invalid_at("name", "expected a text")),
        None => {
            return Err(Refusal::invalid_at(
                "name",
                "expected the name of the new one",
            ));
        }
    };
    let enable = status(&mut call.body)?;
    let fields = definition(&mut call.body);
    let done = perform(&call, &name, Some(Change::Create(fields)), enable).await?;
    let mut answer = shown(&call, &name, done.generated_secret.as_ref()).await?;
    *answer.status_mut() = StatusCode::CREATED;
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/subscriptions/{name}")) {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

/// `DELETE`: it goes from the file, and its deliveries are cancelled; also those of one that is gone already.
pub(in crate::admin) async fn delete(call: Call) -> Result<Answer, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    let config = call.admin.control.config();
    let Some(subscription) = config.subscriptions.get(&name) else {
        return cancel_gone(&call, &name).await;
    };
    let tally = call.admin.store.history().tally(&name).await?;
    let before = api::Subscription::new(&call.admin, subscription, &tally);
    perform(&call, &name, Some(Change::Delete), None).await?;
    let number = call.admin.store.subscription(&name);
    let grace = subscription.timeout.saturating_add(Duration::from_secs(5));
    let cancelled = cancel_all(&call, number, grace.min(CANCEL_PATIENCE)).await?;
    Ok(json(&before.deleted(cancelled)))
}

/// Cancels what is held of one that is gone from the file.
async fn cancel_gone(call: &Call, name: &SubscriptionName) -> Result<Answer, Refusal> {
    let number = call.admin.store.known(name);
    let pending =
        |number: &SubscriptionNumber| call.admin.store.queue(*number).counts().pending > 0;
    let number = number
        .filter(pending)
        .ok_or_else(|| call.admin.no_subscription(name))?;
    let tally = call.admin.store.history().tally(name).await?;
    let before = api::Subscription::gone(&call.admin, name, &tally);
    let cancelled = cancel_all(call, number, CANCEL_PATIENCE).await?;
    Ok(json(&before.deleted(cancelled)))
}

/// Cancels all deliveries of one that is not in the file, once the attempts in flight have ended.
async fn cancel_all(
    call: &Call,
    number: SubscriptionNumber,
    grace: Duration,
) -> Result<u64, Refusal> {
    let end = Instant::now() + grace;
    loop {
        match call.admin.store.cancel_all(number).await {
            Ok(cancelled) => return Ok(cancelled),
            Err(OperationError::InFlight) if Instant::now() < end => sleep(CANCEL_PAUSE).await,
            Err(OperationError::InFlight) => {
                return Err(Refusal::unavailable(
                    "in_flight",
                    "it is deleted, but an attempt is still in flight: delete it again to cancel its deliveries",
                    5,
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// `POST …/rotate-secret`: a new secret; the old one signs along for a while.
pub(in crate::admin) async fn rotate(call: Call) -> Result<Answer, Refusal> {
    let name = known(&call)?;
    let mut fields = Fields::of::<Rotation>(&call.body);
    let duration = |text: &str| parse_duration(text).map_err(|error| error.to_string());
    let grace = fields.text("grace", "expected a duration, such as 24h", duration);
    let given = fields.text("secret", TEXT_EXPECTED, given_secret);
    let grace = fields.end(Some(grace.unwrap_or(GRACE)))?;
    let is_made = given.is_none();
    let secret = given.map_or_else(make_secret, Ok)?;
    let change = Change::RotateSecret {
        secret: secret.clone(),
        grace,
    };
    perform(&call, &name, Some(change), None).await?;
    shown(&call, &name, is_made.then_some(&secret)).await
}

fn given_secret(text: &str) -> Result<Secret, String> {
    match text.len() {
        0 => Err("The webhook secret must be at least 12 characters.".to_owned()),
        1..=SECRET_BYTES_MAX => Ok(Secret::new(text.as_bytes().to_vec())),
        _ => Err("expected at most 64 KiB".to_owned()),
    }
}

/// A secret in the form of Standard Webhooks, which every scheme takes.
fn make_secret() -> Result<Secret, Refusal> {
    let mut key = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Refusal::unavailable("no_randomness", "the system gives no random bytes", 5)
    })?;
    let text = Zeroizing::new(STANDARD.encode(key.as_slice()));
    Ok(Secret::new(format!("whsec_{}", *text).into_bytes()))
}

/// The name in the path, if the file has it.
fn known(call: &Call) -> Result<SubscriptionName, Refusal> {
    let name: SubscriptionName = call.named(NO_SUBSCRIPTION)?;
    let config = call.admin.control.config();
    match config.subscriptions.contains_key(&name) {
        true => Ok(name),
        false => Err(call.admin.no_subscription(&name)),
    }
}

/// Takes `status` out: whether to enable it.
fn status(body: &mut Map<String, Value>) -> Result<Option<bool>, Refusal> {
    match body.shift_remove("status") {
        None => Ok(None),
        Some(Value::String(text)) if text == "active" => Ok(Some(true)),
        Some(Value::String(text)) if text == "disabled" => Ok(Some(false)),
        Some(_) => Err(Refusal::invalid_at("status", "expected active or disabled")),
    }
}

/// Takes `name` out, which must be the one in the path.
fn same_name(body: &mut Map<String, Value>, name: &SubscriptionName) -> Result<(), Refusal> {
    match body.shift_remove("name") {
        None => Ok(()),
        Some(Value::String(text)) if text == name.as_str() => Ok(()),
        Some(_) => Err(Refusal::invalid_at("name", "a name cannot be changed")),
    }
}

/// Takes the fields of a definition out of the body; the read-only fields that `GET` shows are dropped.
fn definition(body: &mut Map<String, Value>) -> Map<String, Value> {
    let mut fields = std::mem::take(body);
    fields.retain(|name, _| !is_read_only(name));
    fields
}

fn is_read_only(name: &str) -> bool {
    READ_ONLY.contains(&name) || is_state(name)
}

/// The tags of `If-Match` (RFC 9110, section 13.1.1), in their quotes; `None` for `*` or no header. Weak ones never
/// match.
fn if_match(headers: &HeaderMap) -> Option<Vec<String>> {
    let values: Vec<&[u8]> = headers
        .get_all(IF_MATCH)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if values.is_empty() || values.iter().any(|value| value.trim_ascii() == b"*") {
        return None;
    }
    let tags = values.iter().flat_map(|value| list_elements(value));
    let tags = tags.map(|tag| String::from_utf8_lossy(tag).into_owned());
    Some(tags.collect())
}

/// Asks for a change and waits until it is in force.
async fn perform(
    call: &Call,
    name: &SubscriptionName,
    change: Option<Change>,
    enable: Option<bool>,
) -> Result<EditDone, Refusal> {
    let request = Box::new(EditRequest {
        name: name.clone(),
        change,
        enable,
        if_match: if_match(&call.headers),
    });
    let asked = call
        .admin
        .control
        .ask(|answer| Command::Edit(request, answer));
    let done = asked.await.ok_or_else(Refusal::stopping)?;
    done.map_err(refused)
}

fn refused(refusal: EditRefusal) -> Refusal {
    let text = refusal.to_string();
    match refusal {
        EditRefusal::Precondition => {
            Refusal::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", text)
        }
        EditRefusal::Edit(error) => match error {
            EditError::Unknown => Refusal::not_found(NO_SUBSCRIPTION),
            EditError::Exists => Refusal::conflict("exists", text),
            EditError::Locked => Refusal::conflict("locked", text),
            EditError::Refused(_) | EditError::NotWritable(_) => {
                Refusal::conflict("edit_refused", text)
            }
            EditError::Invalid(mut errors) => {
                errors.sort_by(|(one, _), (other, _)| one.cmp(other));
                Refusal::invalid(errors)
            }
            EditError::Broken(_) => Refusal::conflict("config_broken", text),
        },
        EditRefusal::Status(error) => match error {
            StatusError::Unknown => Refusal::not_found(NO_SUBSCRIPTION),
            StatusError::Locked => Refusal::conflict("locked", text),
            StatusError::Inactive => Refusal::conflict("inactive", text),
        },
        EditRefusal::NotInForce(error) => {
            tracing::error!(%error, "an edit is written, but not in force");
            Refusal::unavailable("not_in_force", text, 5)
        }
        EditRefusal::Stopping => Refusal::stopping(),
    }
}

/// The answer with its present state, and with the secret that was made for it, this once.
async fn shown(
    call: &Call,
    name: &SubscriptionName,
    secret: Option<&Secret>,
) -> Result<Answer, Refusal> {
    let config = call.admin.control.config();
    // Another call may have deleted it meanwhile.
    let subscription = config.subscriptions.get(name);
    let subscription = subscription.ok_or_else(|| Refusal::not_found(NO_SUBSCRIPTION))?;
    // The change is in force, even if its figures cannot be had just now.
    let tally = call
        .admin
        .store
        .history()
        .tally(name)
        .await
        .unwrap_or_default();
    let mut view = api::Subscription::new(&call.admin, subscription, &tally);
    if let Some(secret) = secret {
        view = view.with_secret(secret);
    }
    Ok(show(subscription, &view))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{ConfigError, Problems};

    fn tags(values: &[&'static str]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_static(value));
        }
        if_match(&headers)
    }

    #[test]
    fn tags_are_a_list_and_a_star_is_any() {
        let list = |tags: &[&str]| Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(tags(&[]), None);
        assert_eq!(tags(&[" * "]), None);
        assert_eq!(
            tags(&["\"a\", W/\"b\"", "\"c\""]),
            list(&["\"a\"", "W/\"b\"", "\"c\""])
        );
        assert_eq!(tags(&[""]), list(&[]), "no tag matches nothing");
    }

    #[test]
    fn each_refusal_has_its_status() {
        let broken = || ConfigError(Problems::default());
        let refusals = [
            (EditRefusal::Precondition, 412),
            (EditError::Unknown.into(), 404),
            (EditError::Exists.into(), 409),
            (EditError::Locked.into(), 409),
            (EditError::Refused("changed".to_owned()).into(), 409),
            (EditError::NotWritable("read-only".to_owned()).into(), 409),
            (EditError::Invalid(Vec::new()).into(), 422),
            (EditError::Broken(broken()).into(), 409),
            (StatusError::Unknown.into(), 404),
            (StatusError::Locked.into(), 409),
            (StatusError::Inactive.into(), 409),
            (EditRefusal::NotInForce(broken()), 503),
            (EditRefusal::Stopping, 503),
        ];
        for (refusal, status) in refusals {
            let text = refusal.to_string();
            assert_eq!(refused(refusal).status(), status, "{text}");
        }
    }

    #[test]
    fn errors_of_one_path_stand_together() {
        let errors = [("url", "one"), ("headers", "two"), ("url", "three")];
        let errors = errors.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let refusal = refused(EditError::Invalid(errors.to_vec()).into());
        let shown = format!("{refusal:?}");
        let (one, three) = (shown.find("one").unwrap(), shown.find("three").unwrap());
        assert!(shown.find("two").unwrap() < one && one < three, "{shown}");
    }

    #[test]
    fn status_and_name_are_no_part_of_the_definition() {
        let Value::Object(mut body) = json!({"status": "active", "name": "a", "url": "x"}) else {
            panic!("not an object")
        };
        let name = "a".parse().unwrap();
        assert_eq!(status(&mut body).unwrap(), Some(true));
        same_name(&mut body, &name).unwrap();
        assert_eq!(Value::Object(body), json!({"url": "x"}));
        for (field, value) in [
            ("status", json!(true)),
            ("status", json!("gone")),
            ("name", json!("b")),
            ("name", json!(null)),
        ] {
            let mut body = Map::from_iter([(field.to_owned(), value)]);
            let is_refused = match field {
                "status" => status(&mut body).is_err(),
                _ => same_name(&mut body, &name).is_err(),
            };
            assert!(is_refused, "{field}");
        }
    }

    #[test]
    fn each_secret_that_is_made_is_another() {
        let (one, other) = (make_secret().unwrap(), make_secret().unwrap());
        assert_ne!(one, other);
        let scheme = crate::signing::Scheme::standard();
        assert_eq!(scheme.check_secret(&one), Ok(()));
    }
}
