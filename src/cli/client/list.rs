//! Lists of the admin API, page by page.

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::List;
use crate::cli::client::call::{Client, Query, read};
use crate::cli::client::error::CallError;

/// The most entries of a page.
const PAGE_MAX: usize = 200;
/// So many pages in a row may be empty: a list that never gets further is no list of a sidecar.
const EMPTY_PAGES_MAX: usize = 10_000;

impl Client {
    /// The first `limit` entries of a list, following its cursors; each goes to `take` as it comes.
    ///
    /// # Errors
    /// A call fails, or `take` does.
    pub(crate) async fn list(
        &self,
        path: &str,
        mut query: Query,
        limit: usize,
        mut take: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = limit;
        let mut cursor = None;
        let mut empty_pages = 0;
        while left > 0 {
            query.set("limit", Some(left.min(PAGE_MAX)));
            let page: List<Value> = read(&self.get(path, &query).await?)?;
            empty_pages = if page.data.is_empty() {
                empty_pages + 1
            } else {
                0
            };
            if empty_pages > EMPTY_PAGES_MAX {
                return Err(CallError::Foreign(None)).context("the list does not get further");
            }
            for entry in page.data.into_iter().take(left) {
                take(entry)?;
                left -= 1;
            }
            // A page may be empty although more follows, but it always gets further.
            let Some(next) = page.next_cursor else {
                return Ok(());
            };
            if cursor.as_ref() == Some(&next) {
                return Err(CallError::Foreign(None)).context("two pages with one cursor");
            }
            query.set("cursor", Some(&next));
            cursor = Some(next);
        }
        Ok(())
    }

    /// The first `limit` entries of a list.
    ///
    /// # Errors
    /// A call fails.
    pub(crate) async fn listed<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query,
        limit: usize,
    ) -> anyhow::Result<Vec<T>> {
        let mut entries = Vec::new();
        self.list(path, query, limit, |entry| {
            entries.push(read(&entry)?);
            Ok(())
        })
        .await?;
        Ok(entries)
    }
}
