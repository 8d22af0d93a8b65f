//! What a collector asks of its process: enough file descriptors, and panics that reach its log.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors besides those of the public listener's connections: the journal, ClickHouse, operations.
const OWN_FILES: u64 = 128;

/// Raises the soft limit on open files to the hard one: 1,024, the usual soft limit, is left for programs that use
/// `select`. Says so in the log when the connections that the settings allow do not fit even then.
pub(super) fn raise_open_files(max_connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    // No limit is none.
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    if limit < max_connections as u64 + OWN_FILES {
        tracing::warn!(
            limit,
            max_connections,
            "the process may open fewer files than --max-connections needs; raise `ulimit -n` or LimitNOFILE"
        );
    }
}

/// Sends panics to the log, with the place they come from, instead of as loose text to standard error.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let cause = panic.payload_as_str().unwrap_or("unknown");
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(cause, place, thread = thread.name(), "a panic: this is a defect of Weir");
    }));
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_with_its_place() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
        let before = std::panic::take_hook();
        log_panics();
        let panicked = tracing::subscriber::with_default(log.finish(), || {
            std::panic::catch_unwind(|| panic!("it was {}", 42))
        });
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let line: serde_json::Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        assert_eq!(line["cause"], "it was 42");
        assert_eq!(line["level"], "ERROR");
        let place = line["place"].as_str().unwrap();
        assert!(place.contains("src/command/process.rs:"), "{place}");
    }

    #[test]
    fn the_soft_limit_rises_to_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        raise_open_files(1);
        let after = getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
    }
}
