//! Where log lines go and how they look: fixed lower-case texts with fields, on standard error, as set by `log` of the
//! configuration. `RUST_LOG` is not read: the file is the truth. How they get there is the concern of [`crate::logs`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Log, LogFormat, LogLevel};
use crate::domain::Clock;
use crate::logs::{Limit, Logs};

/// The longest text of a panic that is logged, bytes.
const PANIC_TEXT_MAX: usize = 1024;

/// Starts logging for the whole process, panics too. Later calls change nothing.
///
/// # Errors
/// The system starts no thread for it.
pub(crate) fn init(log: &Log, clock: Arc<dyn Clock>) -> io::Result<Logs> {
    let limit = Limit::new(Arc::clone(&clock));
    let logs = Logs::start(io::stderr(), limit.clone(), clock)?;
    let terminal = io::stderr().is_terminal();
    let pretty = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer()
        .with_writer(logs.clone())
        .with_target(false)
        .log_internal_errors(false);
    let lines = if pretty {
        lines.with_ansi(terminal && colour_wanted()).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    let subscriber = registry().with(lines).with(limit).with(levels(log.level));
    drop(tracing::subscriber::set_global_default(subscriber));
    panic::set_hook(Box::new(log_panic));
    Ok(logs)
}

/// The usual hook blocks until standard error is read.
fn log_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("no text");
    let text = text.get(..text.floor_char_boundary(PANIC_TEXT_MAX));
    let place = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => Some(backtrace.to_string()),
        _ => None,
    };
    tracing::error!(text, place, backtrace, "a thread panicked");
}

/// Whether colours are wanted: not when `NO_COLOR` is set to anything. Source: no-color.org.
pub(crate) fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Our own lines from the configured level on; those of libraries only when they warn.
fn levels(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("sidehook", level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_heard_only_when_they_warn() {
        let levels = levels(LogLevel::Debug);
        assert!(levels.would_enable("sidehook::app", &Level::DEBUG));
        assert!(!levels.would_enable("hyper::proto", &Level::INFO));
        assert!(levels.would_enable("hyper::proto", &Level::WARN));
    }

    #[test]
    fn a_quieter_level_quiets_libraries_too() {
        let levels = levels(LogLevel::Error);
        assert!(!levels.would_enable("hyper::proto", &Level::WARN));
        assert!(!levels.would_enable("sidehook::app", &Level::WARN));
    }
}
