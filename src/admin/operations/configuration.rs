//! Operations on the configuration as a whole.

use crate::admin::operation::Operation;

pub(super) fn operations() -> Vec<Operation> {
    Vec::new()
}
