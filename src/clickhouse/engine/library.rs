//! Where the engine's library is.

use std::path::{Path, PathBuf};

use super::EngineError;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const PLATFORM: &str = "linux-x64-gnu";
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
const PLATFORM: &str = "linux-arm64-gnu";
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
const PLATFORM: &str = "darwin-arm64";
#[cfg(all(target_os = "macos", target_arch = "x86_64"))]
const PLATFORM: &str = "darwin-x64";
#[cfg(not(all(
    any(target_os = "linux", target_os = "macos"),
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
const PLATFORM: &str = "none";

/// The library that was named, else the one that `make engine` put below the working directory or below an
/// ancestor of this program.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, EngineError> {
    if let Some(named) = named {
        let absolute = std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
        return if absolute.is_file() { Ok(absolute) } else { Err(EngineError::LibraryNotThere(absolute)) };
    }
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let above = program.iter().flat_map(|program| program.ancestors().skip(1).map(Path::to_owned));
    search(here.into_iter().chain(above)).ok_or(EngineError::LibraryMissing)
}

fn search(places: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    places.map(|place| place.join(below())).find(|library| library.is_file())
}

fn below() -> PathBuf {
    Path::new(".engine/node_modules/@chdb").join(format!("lib-{PLATFORM}")).join("libchdb.so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_has_it_wins() {
        let dir = tempfile::tempdir().expect("a directory");
        let (far, near) = (dir.path().join("far"), dir.path().join("near"));
        assert_eq!(search([far.clone(), near.clone()].into_iter()), None);
        let library = near.join(below());
        std::fs::create_dir_all(library.parent().expect("a parent")).expect("a directory");
        std::fs::write(&library, "").expect("a file");
        assert_eq!(search([far, near].into_iter()), Some(library));
    }

    #[test]
    fn a_named_library_has_to_be_there() {
        let error = find(Some(Path::new("/nowhere/libchdb.so"))).expect_err("not there");
        assert!(error.to_string().contains("/nowhere/libchdb.so"), "{error}");
    }
}
