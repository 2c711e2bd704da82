//! Operations on events, deliveries and bulk replays, and the stream.

use http::Method;

use crate::admin::operation::{Operation, Success, schema_of};
use crate::admin::query::{CURSOR, Kind, LIMIT, Parameter, SINCE, UNTIL};
use crate::admin::{deliveries, events, openapi, replays, stream};
use crate::api::{
    Begun, Delivery, DeliveryWithAttempts, Event, EventWithDeliveries, List, Matched, NewReplay,
    Replay,
};

const TYPE: Parameter = Parameter {
    name: "type",
    kind: Kind::Label,
    about: "Only events of this type",
};

const GIVEN_ID: Parameter = Parameter {
    name: "given_id",
    kind: Kind::Label,
    about: "Only the event to which the application gave this id",
};

const SUBSCRIPTION: Parameter = Parameter {
    name: "subscription",
    kind: Kind::Name,
    about: "Only what concerns this subscription",
};

const EVENT: Success = Success::json(200, "The event", schema_of::<EventWithDeliveries>);
const DELIVERY: Success = Success::json(200, "The delivery", schema_of::<DeliveryWithAttempts>);

pub(super) fn operations() -> Vec<Operation> {
    let mut all = events_and_deliveries();
    all.extend(bulk_replays());
    all.push(Operation {
        query: &[SUBSCRIPTION],
        answers: vec![Success::text(
            200,
            "Server-sent events: attempt, delivery, subscription, missed",
            "text/event-stream",
        )],
        ..Operation::reading(
            "/v1/stream",
            "stream",
            "What happens, as it happens",
            |call| Box::pin(stream::listen(call)),
        )
    });
    all
}

fn events_and_deliveries() -> Vec<Operation> {
    vec![
        Operation {
            query: &[LIMIT, CURSOR, TYPE, GIVEN_ID, SINCE, UNTIL],
            answers: vec![Success::json(
                200,
                "A page, newest first",
                schema_of::<List<Event>>,
            )],
            ..Operation::reading("/v1/events", "listEvents", "Events that are kept", |call| {
                Box::pin(events::all(call))
            })
        },
        Operation {
            answers: vec![EVENT],
            ..Operation::reading(
                "/v1/events/{event_id}",
                "getEvent",
                "One event with its deliveries; with the scope manage also its headers and body",
                |call| Box::pin(events::one(call)),
            )
        },
        Operation {
            query: &[LIMIT, CURSOR, SUBSCRIPTION, deliveries::STATE, SINCE, UNTIL],
            answers: vec![Success::json(
                200,
                "A page, newest event first",
                schema_of::<List<Delivery>>,
            )],
            ..Operation::reading(
                "/v1/deliveries",
                "listDeliveries",
                "Deliveries that are kept",
                |call| Box::pin(deliveries::all(call)),
            )
        },
        Operation {
            answers: vec![DELIVERY],
            ..Operation::reading(
                "/v1/deliveries/{delivery_id}",
                "getDelivery",
                "One delivery with its attempts",
                |call| Box::pin(deliveries::one(call)),
            )
        },
        Operation {
            body: Some(openapi::empty_object),
            answers: vec![DELIVERY],
            refusals: &[409],
            ..Operation::changing(
                Method::POST,
                "/v1/deliveries/{delivery_id}/replay",
                "replayDelivery",
                "Attempt it again: at once if it is pending, else with a fresh schedule",
                |call| Box::pin(deliveries::replay(call)),
            )
        },
        Operation {
            body: Some(openapi::empty_object),
            answers: vec![DELIVERY],
            refusals: &[409],
            ..Operation::changing(
                Method::POST,
                "/v1/deliveries/{delivery_id}/cancel",
                "cancelDelivery",
                "Take a pending or dead delivery back",
                |call| Box::pin(deliveries::cancel(call)),
            )
        },
    ]
}

fn bulk_replays() -> Vec<Operation> {
    const REPLAY: Success = Success::json(200, "The bulk replay", schema_of::<Replay>);
    vec![
        Operation {
            answers: vec![Success::json(
                200,
                "Those that are kept, newest first: 16 at most",
                schema_of::<List<Replay>>,
            )],
            ..Operation::reading("/v1/replays", "listReplays", "Bulk replays", |call| {
                Box::pin(replays::all(call))
            })
        },
        Operation {
            body: Some(schema_of::<NewReplay>),
            answers: vec![
                Success::json(
                    200,
                    "With dry_run: what would be replayed",
                    schema_of::<Matched>,
                ),
                Success::json(202, "It has begun", schema_of::<Begun>).with_headers(&["Location"]),
            ],
            refusals: &[409],
            ..Operation::changing(
                Method::POST,
                "/v1/replays",
                "beginReplay",
                "Replay many deliveries of a subscription",
                |call| Box::pin(replays::begin(call)),
            )
        },
        Operation {
            answers: vec![REPLAY],
            ..Operation::reading(
                "/v1/replays/{replay_id}",
                "getReplay",
                "How far a bulk replay is",
                |call| Box::pin(replays::one(call)),
            )
        },
        Operation {
            answers: vec![REPLAY],
            ..Operation::changing(
                Method::DELETE,
                "/v1/replays/{replay_id}",
                "stopReplay",
                "Stop a bulk replay",
                |call| Box::pin(replays::stop(call)),
            )
        },
    ]
}
