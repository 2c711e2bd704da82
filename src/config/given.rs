//! A key whose absence, null and mistakes mean different things.

/// The state of a key.
#[derive(Debug, Clone, Default)]
pub(super) enum Given<T> {
    /// It is left out.
    #[default]
    Absent,
    /// It is there and stands for nothing.
    Null,
    /// It is there and wrong, which is reported.
    Wrong,
    /// It is there and right.
    Value(T),
}

impl<T> Given<T> {
    /// Returns the value, if there is one that is right.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null | Self::Wrong => None,
        }
    }
}
