//! What differs between two configurations, subscription by subscription.

use crate::config::model::Config;

/// What a reload changes, in numbers of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// New in the file.
    pub added: usize,
    /// Defined differently than before.
    pub changed: usize,
    /// Gone from the file.
    pub removed: usize,
}

impl Reloaded {
    /// How many subscriptions differ between two configurations.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut reloaded = Self::default();
        for (name, subscription) in &new.subscriptions {
            match old.subscriptions.get(name) {
                None => reloaded.added += 1,
                Some(before) if before != subscription => reloaded.changed += 1,
                Some(_) => {}
            }
        }
        let is_gone = |name: &&_| !new.subscriptions.contains_key(*name);
        reloaded.removed = old.subscriptions.keys().filter(is_gone).count();
        reloaded
    }
}
