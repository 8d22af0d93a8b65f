//! The child process: gives up its right to the host's files, loads the engine's library and hands the process over
//! to it.
//!
//! The library is 566 MB and installs signal handlers, so it is never loaded into a collector. The only unsafe code
//! of this crate is here.

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::config;
use super::confine::confine;
use super::process::STORE;

/// The hidden command of the binary that [`run_child`] serves. Its arguments are the library, the engine's directory
/// and the port.
pub const CHILD_COMMAND: &str = "engine-child";

/// How long the engine may take to end after its parent is gone.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Opens the listener, then waits for ever: the engine ends with its last statement. It holds no memory and looks
/// up once a second whether it has been cancelled.
const STATEMENTS: &str = "SYSTEM START LISTEN HTTP; \
    SELECT sleepEachRow(1) FROM system.numbers \
    SETTINGS max_block_size = 1, max_threads = 1, max_execution_time = 0 FORMAT Null";

/// Runs the engine until standard input closes, which is what the parent's end does to it. `arguments` are those
/// after [`CHILD_COMMAND`].
pub fn run_child(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let [library, dir, port] = arguments.as_slice() else {
        eprintln!("{CHILD_COMMAND} is for weir's own use");
        return ExitCode::from(64);
    };
    match prepare(Path::new(library), Path::new(dir), port) {
        Ok(arguments) => run(library, &arguments),
        Err(error) => {
            eprintln!("the engine's process cannot be prepared: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Confines the process and gives the engine's arguments.
fn prepare(library: &Path, dir: &Path, port: &OsStr) -> io::Result<Vec<CString>> {
    let store = dir.join(STORE);
    fs::create_dir_all(&store)?;
    let (confined, users) = (dir.join(config::CONFINED), dir.join(config::USERS));
    let is_confined = confine(&store, &[library, &confined, &users]);
    if !is_confined {
        eprintln!("this system cannot confine the engine: without the password it answers nobody");
    }
    let config = if is_confined { confined } else { dir.join(config::UNCONFINED) };
    let arguments: [&[&OsStr]; 7] = [
        &["weir-engine".as_ref()],
        &["--path=".as_ref(), store.as_ref()],
        &["--config-file=".as_ref(), config.as_ref()],
        &["--listen_host=127.0.0.1".as_ref()],
        &["--http_port=".as_ref(), port],
        &["--query".as_ref()],
        &[STATEMENTS.as_ref()],
    ];
    arguments
        .map(|parts| CString::new(parts.join(OsStr::new("")).into_vec()))
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(io::Error::from)
}

fn run(library: &OsStr, arguments: &[CString]) -> ExitCode {
    // After `confine`, which threads started before it would escape.
    std::thread::spawn(end_with_parent);
    match run_library(library, arguments) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(reason)) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the engine's library cannot be used: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the parent to let go of the pipe, then ends this process: in order first, by force if that takes long.
fn end_with_parent() {
    let mut nothing = [0; 64];
    while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
    for signal in [Signal::TERM, Signal::KILL] {
        // A process can always signal itself.
        let _ = kill_process(getpid(), signal);
        std::thread::sleep(LAST_WORDS);
    }
}

#[allow(unsafe_code, reason = "the engine is a C library; its interface is called here and nowhere else")]
fn run_library(library: &OsStr, texts: &[CString]) -> Result<Option<String>, libloading::Error> {
    type Run = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
    type Reason = unsafe extern "C" fn(*mut c_void) -> *const c_char;

    let mut pointers: Vec<*mut c_char> = texts.iter().map(|text| text.as_ptr().cast_mut()).collect();
    let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
    pointers.push(std::ptr::null_mut());

    // SAFETY: loading runs the library's initialisers. It is the file that the operator named or that `make engine`
    // fetched and compared with its pinned hash, and this process exists for nothing else.
    let library = unsafe { libloading::Library::new(library) }?;
    // SAFETY: the type is the one that the library's header declares:
    // `struct chdb_result * chdb_query_cmdline(int argc, char ** argv)`.
    let run = unsafe { library.get::<Run>(b"chdb_query_cmdline\0") }?;
    // SAFETY: as above: `const char * chdb_result_error(chdb_result * result)`.
    let reason = unsafe { library.get::<Reason>(b"chdb_result_error\0") }?;
    // SAFETY: `pointers` holds `count` strings that end in zero, and a null after them, as `main` gets them; they
    // and the strings live until the call returns. The engine does not write to them.
    let result = unsafe { run(count, pointers.as_mut_ptr()) };
    if result.is_null() {
        return Ok(None);
    }
    // SAFETY: `result` comes from the call above, is not null and is never freed: the process ends after this.
    let text = unsafe { reason(result) };
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: a reason that is not null is a string that ends in zero and belongs to `result`, which lives on.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    let text = text.to_string_lossy().into_owned();
    // Its threads may still run; unloading would take their code away.
    std::mem::forget(library);
    Ok(Some(text))
}
