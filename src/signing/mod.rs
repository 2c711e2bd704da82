//! Signature schemes in both directions: the headers of a delivery with which its endpoint can check its origin,
//! and the check itself, for `sidehook verify`, `listen` and `demo`.
//!
//! One file per family of schemes: `standard`, `body`, `timestamped` and `custom`. Each defines its headers,
//! what it signs, how it writes signatures and how it reads them back; the keys and the choice among several of them
//! are the same for all. Reading secrets and the `signature:` field is left to the configuration, the rest of a
//! request to `request`.
//!
//! Invariants:
//! - What is sent is what is signed: id and timestamp are rendered once and used for both.
//! - A key schedule runs when a configuration is loaded, never per event.
//! - Signatures are compared in constant time, and never unless they have their full length.
//! - Signature headers are marked sensitive: they do not show in `Debug` and HTTP/2 does not index them.

mod body;
mod custom;
mod error;
mod format;
mod key;
mod reserved;
mod scheme;
mod signer;
mod standard;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod timestamped;
mod verify;

pub use custom::{CustomHmac, CustomHmacOptions};
pub use error::{SigningError, VerifyError};
pub use format::SignInput;
pub use key::{Algorithm, Encoding};
pub(crate) use reserved::is_reserved;
pub use scheme::{KeyForm, Scheme};
pub use signer::Signer;
pub use verify::verify;
