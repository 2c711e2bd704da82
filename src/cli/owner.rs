//! Root checks the store of a service: this command once more, as the user who owns the folder.
//!
//! Root does not open files in a folder of somebody else: what he writes there may be led elsewhere, and what he makes the
//! owner cannot use. The process keeps one power of root beside the user: to read and search whatever there is
//! (`CAP_DAC_READ_SEARCH`). So it reaches the folder also where systemd hides it (`/var/lib/private`), and reads a
//! configuration that only root may read.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;
use rustix::io;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, capabilities, capabilities_secure_bits,
    configure_capability_in_ambient_set, set_capabilities, set_capabilities_secure_bits,
};

use crate::config::{Environment, load_operator};

/// Runs this command again as the owner of the store that the configuration in `path` names, if this is root and the owner is
/// not; gives its exit code then.
///
/// # Errors
/// The system does not start it.
pub(super) fn run_as_owner_of_store(
    path: &Path,
    environment: &Environment,
) -> anyhow::Result<Option<ExitCode>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    // What is wrong with either is for the command itself to say.
    let Ok(operator) = load_operator(path, environment) else {
        return Ok(None);
    };
    let Ok(folder) = std::fs::metadata(&operator.store) else {
        return Ok(None);
    };
    if folder.uid() == 0 {
        return Ok(None);
    }
    if let Err(error) = keep_reading() {
        // As in containers, whose root has fewer powers: the owner may reach the folder without.
        tracing::debug!(%error, "the right to read everything cannot be handed on");
    }
    let mut again = Command::new("/proc/self/exe");
    again.args(std::env::args_os().skip(1));
    let status = again.uid(folder.uid()).gid(folder.gid()).status();
    let status = status
        .with_context(|| format!("user {}, who owns the store, cannot run this", folder.uid()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(ExitCode::from(code.unwrap_or(1))))
}

/// Lets the next process of this thread read and search everything, whoever it runs as. Source: capabilities(7).
fn keep_reading() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable |= CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(CapabilitySet::DAC_READ_SEARCH, true)?;
    // Else a change of the user takes all capabilities away, ambient ones among them.
    let bits = capabilities_secure_bits()?;
    set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP)
}
