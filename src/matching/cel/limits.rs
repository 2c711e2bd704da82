//! The limits of an expression.

/// Bytes of an expression at most.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// The deepest nesting of an expression.
pub(super) const DEPTH_MAX: usize = 64;

/// The most steps of one evaluation, which takes at most 2 ms then.
pub(in crate::matching) const STEPS_MAX: u64 = 50_000;

/// Steps that all expressions of an event may take together on the thread that everything runs on: 100 µs.
pub(in crate::matching) const STEPS_AT_ONCE: u64 = STEPS_MAX / 20;
