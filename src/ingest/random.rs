//! The random part of event ids: drawn from the system in blocks, because a call per event would cost more than all
//! else about an id.

use parking_lot::Mutex;

/// Bytes drawn at once; 409 ids.
const BLOCK: usize = 4 << 10;

/// Random bytes for event ids. Each byte is given out once.
#[derive(Debug, Default)]
pub(super) struct RandomBytes(Mutex<Vec<u8>>);

impl RandomBytes {
    /// Takes as many bytes as an event id needs.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub(super) fn take(&self) -> Result<[u8; 10], getrandom::Error> {
        let mut left = self.0.lock();
        if let Some(taken) = split_off(&mut left) {
            return Ok(taken);
        }
        left.resize(BLOCK, 0);
        if let Err(error) = getrandom::fill(&mut left) {
            left.clear();
            return Err(error);
        }
        split_off(&mut left).ok_or(getrandom::Error::UNEXPECTED)
    }
}

fn split_off(left: &mut Vec<u8>) -> Option<[u8; 10]> {
    let (_, last) = left.split_last_chunk()?;
    let taken = *last;
    left.truncate(left.len() - taken.len());
    Some(taken)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_out_twice() {
        let random = RandomBytes::default();
        let taken: HashSet<_> = (0..3 * BLOCK / 10)
            .map(|_| random.take().unwrap())
            .collect();
        assert_eq!(taken.len(), 3 * BLOCK / 10);
    }
}
