//! Operations on subscriptions and their attempts.

use crate::admin::attempts;
use crate::admin::operation::{Operation, Success, schema_of};
use crate::admin::operations::{CURSOR, LIMIT, SINCE, UNTIL, reading};
use crate::admin::subscriptions;
use crate::admin::views::{AttemptView, List};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            query: &[LIMIT, CURSOR],
            answers: vec![Success::json(
                200,
                "A page, by name",
                subscriptions::list_schema,
            )],
            ..reading(
                "/v1/subscriptions",
                "listSubscriptions",
                "All subscriptions of the file",
                |call| Box::pin(subscriptions::all(call)),
            )
        },
        Operation {
            answers: vec![SHOWN],
            ..reading(
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
                schema_of::<List<AttemptView>>,
            )],
            ..reading(
                "/v1/subscriptions/{name}/attempts",
                "listAttempts",
                "The attempts of a subscription",
                |call| Box::pin(attempts::of_subscription(call)),
            )
        },
    ]
}

/// The subscription, as it stands.
const SHOWN: Success =
    Success::json(200, "The subscription", subscriptions::schema).with_headers(&["ETag"]);
