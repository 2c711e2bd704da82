//! Signing requests: keys prepared once, headers written per attempt.

use std::collections::HashSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::domain::{Secret, Timestamp};
use crate::signing::error::SigningError;
use crate::signing::format::{Format, Message, SignInput};
use crate::signing::key::KeyRing;
use crate::signing::scheme::Scheme;
use crate::signing::text::{Decimal, escaped_id};

/// Signs requests by the schemes of one subscription. Cheap to clone; without schemes it adds nothing.
#[derive(Debug, Clone)]
pub struct Signer {
    schemes: Arc<[Prepared]>,
}

/// A scheme with its keys.
#[derive(Debug)]
struct Prepared {
    format: Arc<dyn Format>,
    keys: KeyRing,
}

impl Signer {
    /// Prepares the keys of all schemes. In schemes that carry several signatures `previous` secrets sign along, each
    /// until its time; the others use the current secret only.
    ///
    /// # Errors
    /// There are schemes but no secret, a secret or an option does not fit, or two schemes write the same header.
    pub fn new(
        schemes: &[Scheme],
        secret: Option<&Secret>,
        previous: &[(Secret, Timestamp)],
    ) -> Result<Self, SigningError> {
        let schemes = schemes
            .iter()
            .map(|scheme| Prepared::new(scheme, secret, previous))
            .collect::<Result<Arc<[_]>, _>>()?;
        let signer = Self { schemes };
        let mut seen = HashSet::new();
        let repeated = signer.headers().find(|name| !seen.insert(name.clone()));
        match repeated {
            Some(name) => Err(SigningError::SameHeader(name)),
            None => Ok(signer),
        }
    }

    /// Every header that [`sign`](Self::sign) sets.
    pub fn headers(&self) -> impl Iterator<Item = HeaderName> {
        self.schemes
            .iter()
            .flat_map(|prepared| prepared.format.headers())
    }

    /// Sets the signature headers, replacing what stood there.
    pub fn sign(&self, input: &SignInput<'_>, headers: &mut HeaderMap) {
        if self.schemes.is_empty() {
            return;
        }
        let id = escaped_id(input.id);
        let timestamp = Decimal::new(u64::try_from(input.at.as_secs()).unwrap_or_default());
        let message = Message {
            id: &id,
            timestamp: timestamp.as_bytes(),
            body: input.body,
            url: input.url,
        };
        for Prepared { format, keys } in self.schemes.iter() {
            let mut signatures = keys
                .live(input.at)
                .map(|key| format.signature(key, &message));
            format.write(input, &message, &mut signatures, headers);
        }
    }
}

impl Prepared {
    fn new(
        scheme: &Scheme,
        secret: Option<&Secret>,
        previous: &[(Secret, Timestamp)],
    ) -> Result<Self, SigningError> {
        let secret = secret.ok_or(SigningError::NoSecret(scheme.name()))?;
        let signing_along = if scheme.carries_several() {
            previous
        } else {
            &[]
        };
        Ok(Self {
            format: scheme.format()?,
            keys: KeyRing {
                current: scheme.key(secret)?,
                previous: signing_along
                    .iter()
                    .map(|(secret, until)| Ok((scheme.key(secret)?, *until)))
                    .collect::<Result<_, SigningError>>()?,
            },
        })
    }
}
