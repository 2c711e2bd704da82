//! The actual address of the admin API, as a note in the folder of the store: `admin.address`.
//!
//! The configuration may name another address by now, or none: port 0. Commands that find no socket in a runtime folder
//! look here. It is an addition: a relay that cannot leave it runs without.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::app::Address;
use crate::private;

/// The name of the file.
const FILE: &str = "admin.address";
/// The most bytes of an address that are read.
const BYTES_MAX: u64 = 4096;

/// Leaves the note, in place of that of an earlier start.
pub(super) fn leave(store: &Path, admin: &Address) {
    let path = store.join(FILE);
    let written = remove(store).and_then(|()| {
        let mut file = private::open(&path, OpenOptions::new().write(true).create_new(true))?;
        writeln!(file, "{admin}")
    });
    if let Err(error) = written {
        let path = path.display();
        tracing::warn!(%path, %error, "commands are not told where the admin API is");
    }
}

/// Takes the note away.
pub(super) fn remove(store: &Path) -> io::Result<()> {
    match fs::remove_file(store.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where the relay with the store in this folder had its admin API when it was last started, `host:port` or `unix:/path`;
/// None if there is no note that this user may read.
#[must_use]
pub fn admin_address(store: &Path) -> Option<String> {
    // Another user may have put anything there: a link, or a pipe that keeps us waiting.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(flags);
    let file = options.open(store.join(FILE)).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let address = text.strip_suffix('\n')?;
    (!address.is_empty() && !address.contains(char::is_control)).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_note_of_the_last_start_is_read_and_anything_else_is_none() {
        let store = tempfile::tempdir().unwrap();
        let of = |port: u16| Address::Tcp(([127, 0, 0, 1], port).into());
        assert_eq!(admin_address(store.path()), None);
        leave(store.path(), &of(1));
        leave(store.path(), &of(20));
        assert_eq!(admin_address(store.path()).as_deref(), Some("127.0.0.1:20"));
        let path = store.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for wrong in ["", "\n", "127.0.0.1:1", "\u{1b}[31m\n", &"a".repeat(5000)] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(admin_address(store.path()), None, "{wrong:?}");
        }
        remove(store.path()).unwrap();
        remove(store.path()).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(admin_address(store.path()), None);
        leave(store.path(), &of(1));
    }
}
