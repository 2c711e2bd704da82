//! Operations on subscriptions and their attempts.

use http::Method;

use crate::admin::operation::{Operation, Success, schema_of};
use crate::admin::query::{CURSOR, LIMIT, SINCE, UNTIL};
use crate::admin::{attempts, openapi, subscriptions};
use crate::api::{Attempt, List, Retried, Rotation, TestAttempt};

/// The header that makes an edit conditional.
const IF_MATCH: &[(&str, &str)] = &[(
    "If-Match",
    "Only if the definition is one of these: values of ETag, or *",
)];

pub(super) fn operations() -> Vec<Operation> {
    let mut all = shown();
    all.extend(edited());
    all.extend(signed());
    all
}

/// The answer with the subscription.
const SHOWN: Success =
    Success::json(200, "The subscription", subscriptions::schema).with_headers(&["ETag"]);

fn shown() -> Vec<Operation> {
    vec![
        Operation {
            query: &[LIMIT, CURSOR],
            answers: vec![Success::json(
                200,
                "A page, by name",
                subscriptions::list_schema,
            )],
            ..Operation::reading(
                "/v1/subscriptions",
                "listSubscriptions",
                "All subscriptions of the file",
                |call| Box::pin(subscriptions::all(call)),
            )
        },
        Operation {
            answers: vec![SHOWN],
            ..Operation::reading(
                "/v1/subscriptions/{name}",
                "getSubscription",
                "One subscription: its definition and its state",
                |call| Box::pin(subscriptions::one(call)),
            )
        },
        Operation {
            query: &[LIMIT, CURSOR, attempts::STATUS, SINCE, UNTIL],
            answers: vec![Success::json(
                200,
                "A page, newest first",
                schema_of::<List<Attempt>>,
            )],
            ..Operation::reading(
                "/v1/subscriptions/{name}/attempts",
                "listAttempts",
                "The attempts of a subscription",
                |call| Box::pin(attempts::of_subscription(call)),
            )
        },
    ]
}

fn edited() -> Vec<Operation> {
    vec![
        Operation {
            body: Some(subscriptions::new_body_schema),
            answers: vec![
                Success::json(201, "It is in the file and in force", subscriptions::schema)
                    .with_headers(&["ETag", "Location"]),
            ],
            refusals: &[409],
            ..Operation::changing(
                Method::POST,
                "/v1/subscriptions",
                "createSubscription",
                "Add a subscription to the file; without a secret one is made",
                |call| Box::pin(subscriptions::create(call)),
            )
        },
        Operation {
            headers: IF_MATCH,
            body: Some(subscriptions::body_schema),
            answers: vec![SHOWN],
            refusals: &[409, 412],
            ..Operation::changing(
                Method::PATCH,
                "/v1/subscriptions/{name}",
                "patchSubscription",
                "Replace each field that is named, null restores its default; and enable or disable it",
                |call| Box::pin(subscriptions::patch(call)),
            )
        },
        Operation {
            headers: IF_MATCH,
            body: Some(subscriptions::body_schema),
            answers: vec![SHOWN],
            refusals: &[409, 412],
            ..Operation::changing(
                Method::PUT,
                "/v1/subscriptions/{name}",
                "putSubscription",
                "Replace the definition; the secret stays unless it is named",
                |call| Box::pin(subscriptions::put(call)),
            )
        },
        Operation {
            headers: IF_MATCH,
            answers: vec![Success::json(
                200,
                "The subscription as it was, and how many deliveries were cancelled",
                subscriptions::schema,
            )],
            refusals: &[409, 412],
            patience: subscriptions::DELETE_PATIENCE,
            ..Operation::changing(
                Method::DELETE,
                "/v1/subscriptions/{name}",
                "deleteSubscription",
                "Remove it from the file and cancel its deliveries, also those of one that is gone already",
                |call| Box::pin(subscriptions::delete(call)),
            )
        },
    ]
}

fn signed() -> Vec<Operation> {
    vec![
        Operation {
            headers: IF_MATCH,
            body: Some(schema_of::<Rotation>),
            answers: vec![SHOWN],
            refusals: &[409, 412],
            ..Operation::changing(
                Method::POST,
                "/v1/subscriptions/{name}/rotate-secret",
                "rotateSecret",
                "Give it a new secret; the old one signs along for a while",
                |call| Box::pin(subscriptions::rotate(call)),
            )
        },
        Operation {
            body: Some(openapi::empty_object),
            answers: vec![
                Success::json(202, "It has begun", schema_of::<Retried>)
                    .with_headers(&["Location"]),
            ],
            refusals: &[409],
            ..Operation::changing(
                Method::POST,
                "/v1/subscriptions/{name}/retry",
                "retrySubscription",
                "Attempt everything that waits for a retry now; a pause and probing end",
                |call| Box::pin(subscriptions::retry(call)),
            )
        },
        Operation {
            body: Some(openapi::empty_object),
            answers: vec![Success::json(
                200,
                "How the attempt went",
                schema_of::<TestAttempt>,
            )],
            refusals: &[409],
            patience: subscriptions::TEST_PATIENCE,
            ..Operation::changing(
                Method::POST,
                "/v1/subscriptions/{name}/test",
                "testSubscription",
                "Send a signed sidehook.test event, which is not recorded",
                |call| Box::pin(subscriptions::test(call)),
            )
        },
    ]
}
