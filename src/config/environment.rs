//! Inputs from outside the file: environment variables, and where the file itself is.
//!
//! The environment is read once and passed in, so that tests can set it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variable that names the file.
const CONFIG: &str = "SIDEHOOK_CONFIG";

/// Where the file is looked for when nothing names it: the first that is there.
const PLACES: [&str; 3] = ["/etc/sidehook/config.yaml", "config.yaml", "sidehook.yaml"];

/// Environment variables, passed in.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// By name. Those that are not UTF-8 are left out.
    pub variables: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether `$SIDEHOOK_CONFIG` names the file.
    #[must_use]
    pub fn is_config_named(&self) -> bool {
        self.get(CONFIG).is_some()
    }

    /// The first folder of `$STATE_DIRECTORY`, which systemd separates by `:`.
    pub(super) fn state_directory(&self) -> Option<PathBuf> {
        let first = self.get("STATE_DIRECTORY")?.split(':').next()?;
        (!first.is_empty()).then(|| PathBuf::from(first))
    }
}

/// The path to use: `given`, else `$SIDEHOOK_CONFIG`, else the first that is there of `/etc/sidehook/config.yaml`, and
/// `config.yaml` and `sidehook.yaml` in the working folder; `config.yaml` if none is.
#[must_use]
pub fn locate(given: Option<&Path>, environment: &Environment) -> PathBuf {
    let named = given.or_else(|| environment.get(CONFIG).map(Path::new));
    let mut places = PLACES.iter().map(Path::new);
    let found = named.or_else(|| places.find(|path| path.exists()));
    found.unwrap_or(Path::new("config.yaml")).to_path_buf()
}

/// The places of a configuration, for a message when there is none.
pub(crate) fn places() -> String {
    let [system, here, there] = PLACES;
    format!(
        "name one with -c FILE or $SIDEHOOK_CONFIG; without them {system}, ./{here} and ./{there} are looked for"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment {
            variables: variables.iter().map(owned).collect(),
        }
    }

    #[test]
    fn the_given_path_comes_before_the_variable() {
        let set = environment(&[("SIDEHOOK_CONFIG", "/b.yaml")]);
        assert_eq!(locate(Some(Path::new("a.yaml")), &set), Path::new("a.yaml"));
        assert_eq!(locate(None, &set), Path::new("/b.yaml"));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let set = environment(&[("SIDEHOOK_CONFIG", "")]);
        assert_eq!(locate(None, &set), locate(None, &Environment::default()));
    }

    #[test]
    fn the_first_state_directory_is_used() {
        let set = environment(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]);
        assert_eq!(set.state_directory(), Some(PathBuf::from("/var/lib/a")));
        assert_eq!(
            environment(&[("STATE_DIRECTORY", ":")]).state_directory(),
            None
        );
    }
}
