//! A collector as a process of its own, with the embedded engine unless it is told otherwise.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::{Answer, Client, eventually, free_port};

/// What a collector is started with.
pub struct Setup {
    data: Arc<TempDir>,
    engine_port: u16,
    arguments: Vec<String>,
}

impl Setup {
    pub fn new() -> Self {
        let data = TempDir::new().unwrap();
        Self { data: Arc::new(data), engine_port: free_port(), arguments: Vec::new() }
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    pub fn engine_port(&self) -> u16 {
        self.engine_port
    }

    fn store_arguments(&self) -> Vec<String> {
        let data = self.data.path().to_str().unwrap().to_owned();
        vec!["--data-dir".into(), data, "--engine-port".into(), self.engine_port.to_string()]
    }

    /// Runs a command of `weir` other than `serve` on the same store, and gives what it printed.
    #[track_caller]
    pub fn weir(&self, arguments: &[&str]) -> String {
        let output =
            weir().args(arguments).args(self.store_arguments()).output().expect("weir can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weir {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Starts a collector, and returns when it serves.
    #[track_caller]
    pub fn start(self) -> Collector {
        let mut child = weir()
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--demo"])
            .args(self.store_arguments())
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("weir can be started");
        let log = Log::follow(child.stderr.take().unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // The last line of what --demo says: everything is ready then.
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            let read = stdout.read_line(&mut said).unwrap();
            assert!(read > 0, "the collector ended at its start:\n{}", log.text());
        }
        let line = log.find("\"message\":\"serving\"");
        let address = |field: &str| line[field].as_str().unwrap().parse().unwrap();
        Collector { listen: address("listen"), operations: address("operations"), child, log, setup: self }
    }
}

/// The binary under test.
pub fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    // Nothing of the machine's own settings.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command.env("WEIR_LOG", "info,weir=debug").stdin(Stdio::null());
    command
}

/// A running collector. Dropping it kills it; its engine goes with it.
pub struct Collector {
    pub listen: SocketAddr,
    pub operations: SocketAddr,
    child: Child,
    log: Log,
    setup: Setup,
}

impl Collector {
    /// A collector with default settings and the project key `pk_live_demo`.
    #[track_caller]
    pub fn start() -> Self {
        Setup::new().start()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.listen).unwrap()
    }

    /// Posts a body to `/api/events` as a plain client does.
    #[track_caller]
    pub fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(&[("Content-Type", "application/json")], body)
    }

    /// Posts a body to `/api/events` with exactly these headers.
    #[track_caller]
    pub fn post_with(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        self.client().send("POST", "/api/events", headers, body.as_ref()).unwrap()
    }

    /// Asks the operations listener.
    #[track_caller]
    pub fn operations(&self, path: &str) -> Answer {
        Client::connect(self.operations).unwrap().send("GET", path, &[], b"").unwrap()
    }

    /// Asks ClickHouse as anybody on the machine can; the answer is tab-separated, without the last line end.
    #[track_caller]
    pub fn sql(&self, query: &str) -> String {
        self.try_sql(query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    pub fn try_sql(&self, query: &str) -> Result<String, String> {
        sql(self.setup.engine_port, &[], query)
    }

    /// Asks ClickHouse with all rights.
    #[track_caller]
    pub fn admin_sql(&self, query: &str) -> String {
        let password = engine_password(self.setup.data_dir());
        let headers = [("X-ClickHouse-User", "weir"), ("X-ClickHouse-Key", &*password)];
        sql(self.setup.engine_port, &headers, query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Waits until the table has this many events, and no more.
    #[track_caller]
    pub fn await_events(&self, count: usize) {
        let count = count.to_string();
        eventually(&format!("{count} events"), || {
            (self.try_sql("SELECT count() FROM weir.events").as_deref() == Ok(&count)).then_some(())
        });
    }

    /// Waits for the journal to be empty: everything answered is in the tables then.
    #[track_caller]
    pub fn await_loaded(&self) {
        eventually("an empty journal", || {
            let files = std::fs::read_dir(self.setup.data_dir().join("journal")).unwrap();
            let left = files.filter(|file| file.as_ref().unwrap().file_name() != "lock").count();
            (left == 0).then_some(())
        });
    }

    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir().to_owned()
    }

    pub fn engine_port(&self) -> u16 {
        self.setup.engine_port
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Runs another command of `weir` on the same store.
    #[track_caller]
    pub fn weir(&self, arguments: &[&str]) -> String {
        self.setup.weir(arguments)
    }

    /// The process of the embedded engine.
    #[track_caller]
    pub fn engine_pid(&self) -> u32 {
        let status =
            std::fs::read_to_string(self.setup.data_dir().join("engine/store/status")).unwrap_or_default();
        let pid = status.lines().find_map(|line| line.strip_prefix("PID: "));
        pid.expect("the engine has said its process id").parse().unwrap()
    }

    /// Sends a signal to the collector.
    pub fn signal(&self, signal: &str) {
        signal_process(self.child.id(), signal);
    }

    /// Kills the collector, and gives back what it was started with.
    pub fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.take_setup()
    }

    /// Asks the collector to stop, and waits until it has.
    #[track_caller]
    pub fn stop(mut self) -> (ExitStatus, Setup) {
        self.signal("TERM");
        let status = eventually("the collector's end", || self.child.try_wait().unwrap());
        (status, self.take_setup())
    }

    fn take_setup(&mut self) -> Setup {
        let Setup { data, engine_port, arguments } = &self.setup;
        Setup { data: data.clone(), engine_port: *engine_port, arguments: arguments.clone() }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Either may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the collector\n{}", self.log.text());
        }
    }
}

/// The password of the embedded engine's user `weir`, as the file for its owner's eyes has it.
#[track_caller]
pub fn engine_password(data_dir: &Path) -> String {
    let access = std::fs::read_to_string(data_dir.join("engine/access")).unwrap();
    let password = access.lines().find_map(|line| line.strip_prefix("password="));
    password.expect("the file has a password").to_owned()
}

/// Sends a signal to a process that a test has started.
#[track_caller]
pub fn signal_process(pid: u32, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -s {signal} {pid}");
}

#[track_caller]
fn sql(port: u16, headers: &[(&str, &str)], query: &str) -> Result<String, String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = Client::connect(address).map_err(|error| error.to_string())?;
    let mut headers = headers.to_vec();
    headers.push(("Connection", "close"));
    headers.push(("X-ClickHouse-Format", "TabSeparated"));
    let answer = client.send("POST", "/", &headers, query.as_bytes()).map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(answer.body.trim_end_matches('\n').to_owned()) } else { Err(answer.body) }
}

/// Collects a process's log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn follow(stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut text = lines.0.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        log
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// The first JSON line that contains `text`.
    #[track_caller]
    fn find(&self, text: &str) -> serde_json::Value {
        eventually(text, || {
            let log = self.text();
            let line = log.lines().find(|line| line.contains(text))?;
            Some(serde_json::from_str(line).unwrap())
        })
    }
}
