//! What a process says, line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::eventually;

/// Collects the lines of a stream.
#[derive(Clone, Default)]
pub struct Log {
    text: Arc<Mutex<String>>,
    ended: Arc<AtomicBool>,
}

impl Log {
    pub fn follow(stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let Self { text, ended } = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut text = text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
            ended.store(true, Ordering::Release);
        });
        log
    }

    /// What was said so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything that was said, once nothing more can be.
    pub fn whole(&self) -> Option<String> {
        self.ended.load(Ordering::Acquire).then(|| self.text())
    }

    /// The first JSON line that contains `text`, once there is one.
    #[track_caller]
    pub fn find(&self, text: &str) -> serde_json::Value {
        eventually(text, || {
            let log = self.text();
            let line = log.lines().find(|line| line.contains(text))?;
            Some(serde_json::from_str(line).unwrap())
        })
    }
}
