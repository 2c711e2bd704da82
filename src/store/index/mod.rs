//! The index: a view of the journal that can be queried, in SQLite.
//!
//! **The journal is the truth, and the index reads it.** A thread follows the journal with a cursor, the same way while
//! the store runs and after a crash, and moves the cursor in the transaction that writes what it read. No queue of
//! records leads here: an index that lags costs time, not memory. Only queues that ask for deliveries which are not in
//! memory wait for it, and intake when the index lags beyond its bound.
//!
//! An index that is damaged, of another version, or of another journal is set aside as `index.sqlite3.old`; then, or if
//! there is none, it is rebuilt from the journal. A power cut can take unsynced outcomes from the journal while the
//! index keeps them: they did happen, so they stay, and the cursor goes back to where the journal goes on. Errors of
//! SQLite stop no delivery: they are logged and the work is tried again. The store fails only if they last, and not if
//! the cause is a full disk.
//!
//! Other processes may read the file while the store runs (`sqlite3 -readonly`). [`schema`] has its tables.

mod ahead;
mod apply;
mod audit;
pub(super) mod ended;
mod error;
mod examine;
mod file;
pub(super) mod find;
mod follower;
mod inbox;
mod net;
mod numbers;
mod operations;
pub(super) mod query;
pub(super) mod reach;
pub(super) mod refill;
pub(super) mod rows;
mod schema;
pub(super) mod segments;
mod start;
pub(super) mod tallies;
mod wide;
mod write;

pub(super) use error::IndexError;
pub use examine::IndexState;
pub(super) use examine::{Examined, examine};
pub(super) use file::{Index, adopt_former};
pub(super) use follower::{Follower, Surroundings};
pub(super) use inbox::Inbox;
pub(super) use query::Subscription;
pub(super) use start::{Remembered, Start};
