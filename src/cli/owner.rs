//! Root checks the store of a service: in a process of the user who owns the folder.
//!
//! Root does not open files in a folder of another user: its writes there could be led elsewhere, and the owner cannot
//! use the files that root makes. The process keeps one power of root beside the user: to read and search everything
//! (`CAP_DAC_READ_SEARCH`). So it reaches the folder also where systemd hides it (`/var/lib/private`), and reads a
//! configuration that only root may read.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::io;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, capabilities, capabilities_secure_bits,
    configure_capability_in_ambient_set, set_capabilities, set_capabilities_secure_bits,
};

/// Checks the store in a folder in a process of its owner, if this is root and the owner is not; returns the exit code.
///
/// # Errors
/// The system does not start it.
pub(super) fn check_as_owner(folder: &Path) -> std::io::Result<Option<u8>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let owner = std::fs::metadata(folder).map(|found| (found.uid(), found.gid()));
    let Ok((user, group)) = owner else {
        // An error in it is for the check to report.
        return Ok(None);
    };
    if user == 0 {
        return Ok(None);
    }
    if let Err(error) = keep_reading() {
        // As in containers, whose root has fewer powers: the owner may reach the folder without.
        tracing::debug!(%error, "the right to read everything cannot be handed on");
    }
    let mut again = Command::new("/proc/self/exe");
    again.args(["check", "--store-in"]).arg(folder);
    let status = again.uid(user).gid(group).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.unwrap_or(1)))
}

/// Lets the next process of this thread read and search everything, as any user. Source: capabilities(7).
fn keep_reading() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable |= CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(CapabilitySet::DAC_READ_SEARCH, true)?;
    // Else a change of the user takes all capabilities away, ambient ones among them.
    let bits = capabilities_secure_bits()?;
    set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP)
}
