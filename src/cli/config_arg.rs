//! `--config`: which configuration file a command means.

use std::path::PathBuf;

use crate::cli::service;
use crate::config::{self, ConfigError, Environment, Loaded, Problem};

/// Where the configuration is.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ConfigArg {
    /// The configuration file, or - for standard input. Default: $SIDEHOOK_CONFIG, else /etc/sidehook/config.yaml, else
    /// ./config.yaml, else ./sidehook.yaml
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArg {
    /// The path to use.
    pub(super) fn path(&self, environment: &Environment) -> PathBuf {
        config::locate(self.config.as_deref(), environment)
    }

    /// Whether the user named the file.
    pub(super) fn is_given(&self, environment: &Environment) -> bool {
        self.config.is_some() || environment.is_config_named()
    }

    /// The path to use as long as the process lives: the working folder may be removed and made again meanwhile.
    pub(super) fn lasting_path(&self, environment: &Environment) -> PathBuf {
        let path = self.path(environment);
        if config::is_pipe(&path) {
            return path;
        }
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Reads the file, with the variables of its service.
    pub(super) fn load(&self, environment: &Environment) -> Result<Loaded, ConfigError> {
        let path = self.path(environment);
        let environment = service::with_variables(&path, environment.clone());
        let loaded = config::load_given(&path, &environment);
        loaded.map_err(|error| self.explained(error, &environment))
    }

    /// Adds where a configuration can be, if none was named and none is there.
    pub(super) fn explained(&self, error: ConfigError, environment: &Environment) -> ConfigError {
        let ConfigError(problems) = &error;
        let [problem] = &**problems else {
            return error;
        };
        if self.is_given(environment) || problem.file.exists() {
            return error;
        }
        let message = format!("{}; {}", problem.message, config::places());
        let problem = Problem {
            message,
            ..problem.clone()
        };
        ConfigError(vec![problem].into())
    }
}
