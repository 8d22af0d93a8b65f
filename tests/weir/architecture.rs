//! The direction in which data flows: a module uses only what stands above it in the list at the head of `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules in their order, as `lib.rs` tells it to its readers.
fn order() -> Vec<String> {
    let text = fs::read_to_string(sources().join("lib.rs")).unwrap();
    let text = text.replace("\n//! ", " ");
    let list = text.split("which a test holds:").nth(1).expect("lib.rs says the order");
    let list = list.split('.').next().unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// The module of the crate that a file belongs to.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(sources()).unwrap();
    let first = inside.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a text names after `crate::`, also in a list in braces.
fn uses(text: &str) -> Vec<String> {
    let word = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut used = Vec::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => used.push(word(after)),
            Some(list) => used.extend(list.split('}').next().unwrap().split(',').map(word)),
        }
    }
    used.retain(|name| !name.is_empty());
    used
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let order = order();
    let place = |name: &str| order.iter().position(|known| known == name);
    let mut files = Vec::new();
    rust_files(&sources(), &mut files);
    let mut seen = 0;
    for file in files {
        let name = module(&file);
        if name == "lib" || name == "main" {
            continue;
        }
        let here = place(&name).unwrap_or_else(|| panic!("lib.rs does not list the module {name}"));
        for used in uses(&fs::read_to_string(&file).unwrap()) {
            let there = place(&used)
                .unwrap_or_else(|| panic!("{}: crate::{used} is no module of the list", file.display()));
            assert!(there <= here, "{} uses {used}, which stands below it", file.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} uses found: the test does not see them any more");
}

#[test]
fn files_stay_short() {
    let mut files = Vec::new();
    rust_files(&sources(), &mut files);
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", file.display());
    }
}
