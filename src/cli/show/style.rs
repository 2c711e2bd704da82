//! The abilities of standard output: colours and width.

use std::io::{self, IsTerminal};

use crate::config::Environment;

/// The abilities of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Style {
    /// Whether it has colours.
    pub(crate) colour: bool,
    /// How many characters a line has; `None` for any number.
    pub(crate) width: Option<u16>,
}

impl Style {
    /// That of standard output. Source: no-color.org.
    pub(crate) fn of_stdout(environment: &Environment) -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::default();
        }
        let set = |name: &str| environment.variables.get(name);
        let refused = set("NO_COLOR").is_some_and(|value| !value.is_empty())
            || set("TERM").is_some_and(|value| value == "dumb");
        let size = rustix::termios::tcgetwinsize(&stdout);
        Self {
            colour: !refused,
            width: size
                .ok()
                .map(|size| size.ws_col)
                .filter(|columns| *columns > 0),
        }
    }
}
