//! sidehook's own subscriptions, made of `notifications`: operational events and e-mails are delivered as all else is.
//!
//! They have reserved names, follow the schedule `standard`, are never disabled, and never delay others: each has
//! a lane, like any subscription.

use std::collections::BTreeMap;

use crate::config::{Config, Notifications, Subscription};
use crate::domain::{AutoDisable, SubscriptionName};
use crate::mail::{Mailer, MailerError};
use crate::signing::Scheme;

/// Attempts in flight to `notifications.webhook`, and to the mail server: one recipient that makes it wait does not keep the
/// others waiting.
const CONCURRENCY: usize = 2;

/// The subscriptions that `notifications` asks for.
pub(super) fn subscriptions(notifications: &Notifications) -> Vec<Subscription> {
    let webhook = notifications.webhook.as_ref().map(|webhook| Subscription {
        url: Some(webhook.url.clone()),
        secret: Some(webhook.secret.clone()),
        signature: vec![Scheme::standard()],
        concurrency: CONCURRENCY,
        ..named(SubscriptionName::notifications())
    });
    let smtp = notifications.smtp.as_ref();
    let mail = smtp.map(|_| Subscription {
        concurrency: CONCURRENCY,
        ..named(SubscriptionName::mail())
    });
    webhook.into_iter().chain(mail).collect()
}

/// Makes the sender of this configuration's e-mails: to the addresses that it names, whenever the event was accepted.
pub(super) fn mailer(config: &Config) -> Result<Option<Mailer>, MailerError> {
    let Some(smtp) = &config.notifications.smtp else {
        return Ok(None);
    };
    let told = config.subscriptions.values();
    let told = told.filter(|subscription| !subscription.notify.is_empty());
    let addresses = told.map(|it| (it.name.clone(), it.notify.clone()));
    let addresses: BTreeMap<_, _> = addresses.collect();
    Mailer::new(smtp, addresses).map(Some)
}

fn named(name: SubscriptionName) -> Subscription {
    Subscription {
        locked: true,
        auto_disable: AutoDisable::Never,
        ..Subscription::named(name)
    }
}
