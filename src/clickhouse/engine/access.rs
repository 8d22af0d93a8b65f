//! The file `access`: what another process of the same user needs to reach the engine, for the owner's eyes only.
//!
//! ```text
//! port=8123
//! password=9f0c…
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use uuid::Uuid;

use super::super::{ClickHouseSettings, Password, Timeouts};
use super::EngineError;

pub(super) const USER: &str = "weir";

/// How to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) port: u16,
    pub(super) password: Password,
}

impl Access {
    /// The access of this directory's engine with its port set to `port`; the password is made once and kept, so
    /// that processes that know it go on working.
    pub(super) fn establish(dir: &Path, port: u16) -> Result<Self, EngineError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| EngineError::File { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let kept = Self::read(dir).map_err(at(&dir.join("access")))?;
        let password = kept.map_or_else(random_password, |kept| kept.password);
        let access = Self { port, password };
        write_private(&dir.join("access"), &access.to_string())?;
        Ok(access)
    }

    /// The access that is written in this directory, if one is.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(dir.join("access")) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
        };
        let password = value("password")?;
        let is_ours = password.len() == 64 && password.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ours.then_some(())?;
        Some(Self { port: value("port")?.parse().ok()?, password: Password::new(password) })
    }

    /// The client's settings.
    pub(super) fn client(&self, database: &str) -> ClickHouseSettings {
        ClickHouseSettings {
            url: format!("http://127.0.0.1:{}", self.port),
            user: USER.to_owned(),
            password: self.password.clone(),
            database: database.to_owned(),
            timeouts: Timeouts::default(),
        }
    }
}

impl std::fmt::Display for Access {
    /// The file's text, password included.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "port={}\npassword={}\n", self.port, self.password.reveal())
    }
}

fn random_password() -> Password {
    Password::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

/// Writes a file that its owner alone may read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), EngineError> {
    let attempt = || {
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    attempt().map_err(|source| EngineError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_password_is_made_once_and_shown_to_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("engine");
        let first = Access::establish(&dir, 8123).expect("access");
        let second = Access::establish(&dir, 9000).expect("access");
        assert_eq!(first.password, second.password);
        assert_eq!(Access::read(&dir).expect("a file"), Some(second.clone()));
        let mode = fs::metadata(dir.join("access")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{second:?}").contains(second.password.reveal()));
        assert_ne!(random_password(), random_password());
    }

    #[test]
    fn a_file_that_is_not_ours_is_no_access() {
        let whole = Access { port: 1, password: random_password() }.to_string();
        assert!(Access::parse(&whole).is_some());
        for text in ["", "port=1\n", &whole.replace("port=1", "port=x"), "port=1\npassword=</x>\n"] {
            assert_eq!(Access::parse(text), None, "{text:?}");
        }
    }
}
