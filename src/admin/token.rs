//! Tokens of the API, and the one that is made when the configuration names none.
//!
//! `admin.token` in the folder of the store holds one token and a line feed, mode 0600. It is made once and read again
//! at every start; only while `admin.tokens` is empty does it count.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::config::{AdminToken, Scopes};
use crate::domain::Secret;
use crate::private;

/// The name of the file.
const FILE: &str = "admin.token";
/// Random bytes of a token: 43 characters.
const BYTES: usize = 32;
/// The least characters of a token.
const CHARACTERS_MIN: usize = 32;
/// More than any token in the file has.
const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("the token file {} cannot be used: expected a file of this user that nobody else may write", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no token of at least 32 visible ASCII characters: remove it, and a new one is made", .0.display())]
    Content(PathBuf),
}

/// The tokens of the API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// The one of the file, once it was needed.
    made: Mutex<Option<Secret>>,
}

impl Tokens {
    /// Reads the token file in the folder of the store, or makes it, if the configuration names no tokens. Blocks.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(store: &Path, configured: &[AdminToken]) -> Result<Self, TokenError> {
        let tokens = Self(Arc::new(Inner {
            path: store.join(FILE),
            made: Mutex::new(None),
        }));
        if configured.is_empty() {
            tokens.made()?;
        }
        Ok(tokens)
    }

    /// Checks whether [`Tokens::open`] would succeed, as far as possible without making the file. Blocks.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn check(store: &Path, configured: &[AdminToken]) -> Result<(), TokenError> {
        let path = store.join(FILE);
        if !configured.is_empty() {
            return Ok(());
        }
        match read(&path) {
            Ok(Some(found)) => token(&found, &path).map(drop),
            Ok(None) => Ok(()),
            Err(source) => Err(TokenError::File { path, source }),
        }
    }

    /// The scopes of a token, `None` for a wrong one; takes the same time wherever it differs.
    pub(super) fn scopes_of(&self, presented: &[u8], configured: &[AdminToken]) -> Option<Scopes> {
        if configured.is_empty() {
            // A reload may have removed the configured ones since the start.
            let made = self.made().inspect_err(|error| {
                tracing::error!(%error, "no call is allowed: there is no token");
            });
            let is_it = made.ok()?.expose().ct_eq(presented);
            return bool::from(is_it).then_some(Scopes {
                read: true,
                manage: true,
            });
        }
        let (mut read, mut manage) = (Choice::from(0), Choice::from(0));
        for token in configured {
            let is_it = token.token.expose().ct_eq(presented);
            read |= is_it & Choice::from(u8::from(token.scopes.read));
            manage |= is_it & Choice::from(u8::from(token.scopes.manage));
        }
        let (read, manage) = (bool::from(read), bool::from(manage));
        (read || manage).then_some(Scopes { read, manage })
    }

    /// The token of the file.
    fn made(&self) -> Result<Secret, TokenError> {
        let mut made = self.0.made.lock();
        if let Some(token) = &*made {
            return Ok(token.clone());
        }
        let path = &self.0.path;
        let failed = |source| TokenError::File {
            path: path.clone(),
            source,
        };
        let found = match read(path).map_err(failed)? {
            Some(found) => found,
            None => {
                make(path).map_err(failed)?;
                // The file's content is in force, whichever process wrote it.
                read(path).map_err(failed)?.unwrap_or_default()
            }
        };
        let token = token(&found, path)?;
        *made = Some(token.clone());
        Ok(token)
    }
}

/// The content of the file; `None` if there is no file.
fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match private::open(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// The token that a file holds.
fn token(found: &[u8], path: &Path) -> Result<Secret, TokenError> {
    let token = found.trim_ascii();
    if token.len() < CHARACTERS_MIN || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenError::Content(path.to_owned()));
    }
    Ok(Secret::new(token.to_vec()))
}

/// Makes the file, whole or not at all, so that a crash leaves none that is cut.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(io::Error::other)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    let new = path.with_extension("token.new");
    // The folder belongs to this process alone; what a crash left behind goes.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private::open(&new, OpenOptions::new().create_new(true).write(true))?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const BOTH: Scopes = Scopes {
        read: true,
        manage: true,
    };

    fn configured(name: &str, read: bool, manage: bool) -> AdminToken {
        AdminToken {
            name: name.to_owned(),
            token: Secret::new(format!("{name}-{}", "x".repeat(32)).into_bytes()),
            scopes: Scopes { read, manage },
        }
    }

    #[test]
    fn the_first_start_makes_a_token_that_later_ones_read() {
        let folder = tempfile::tempdir().unwrap();
        let first = Tokens::open(folder.path(), &[]).unwrap();
        let path = folder.path().join("admin.token");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(text.len(), 44, "43 characters and a line feed");
        let token = text.trim_end();
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        let second = Tokens::open(folder.path(), &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        for tokens in [first, second] {
            assert_eq!(tokens.scopes_of(token.as_bytes(), &[]), Some(BOTH));
            assert_eq!(tokens.scopes_of(&token.as_bytes()[1..], &[]), None);
            assert_eq!(tokens.scopes_of(b"", &[]), None);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn configured_tokens_take_the_place_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let all = [configured("r", true, false), configured("m", false, true)];
        let tokens = Tokens::open(folder.path(), &all).unwrap();
        assert!(!folder.path().join("admin.token").exists());
        let scopes = |token: &AdminToken| tokens.scopes_of(token.token.expose(), &all);
        assert_eq!(scopes(&all[0]), Some(all[0].scopes));
        assert_eq!(scopes(&all[1]), Some(all[1].scopes));
        assert_eq!(scopes(&configured("x", true, true)), None);
        // A reload that removes them brings the file into force.
        assert_eq!(tokens.scopes_of(all[0].token.expose(), &[]), None);
        let made = fs::read_to_string(folder.path().join("admin.token")).unwrap();
        assert_eq!(
            tokens.scopes_of(made.trim_end().as_bytes(), &[]),
            Some(BOTH)
        );
        assert_eq!(tokens.scopes_of(made.trim_end().as_bytes(), &all), None);
    }

    #[test]
    fn a_file_that_holds_no_token_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        for content in ["", "short", &"x y".repeat(20)] {
            fs::write(&path, content).unwrap();
            let error = Tokens::open(folder.path(), &[]).unwrap_err();
            assert!(matches!(error, TokenError::Content(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = Tokens::open(folder.path(), &[]).unwrap_err();
        assert!(matches!(error, TokenError::File { .. }), "{error}");
    }
}
