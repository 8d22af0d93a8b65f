//! A collector as a process of its own, with the embedded engine unless it is told otherwise.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::disk::on_small_disk;
use super::{Answer, Client, Figures, Log, eventually, free_port};

/// What a collector is started with. Clones share its folder.
#[derive(Clone)]
pub struct Setup {
    data: Arc<TempDir>,
    /// None: as the environment says.
    engine_port: Option<u16>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    demo: bool,
    /// Where its system calls are to be written.
    trace: Option<PathBuf>,
    /// Bytes of the journal's own filesystem, if it has one.
    disk: Option<u64>,
}

impl Setup {
    pub fn new() -> Self {
        let data = TempDir::new().unwrap();
        let (arguments, environment) = (Vec::new(), Vec::new());
        let (data, engine_port) = (Arc::new(data), Some(free_port()));
        Self { data, engine_port, arguments, environment, demo: true, trace: None, disk: None }
    }

    /// Without the project key `pk_live_demo`, which takes a ClickHouse that answers.
    pub fn without_demo(mut self) -> Self {
        self.demo = false;
        self
    }

    /// With the journal on a filesystem of its own that holds this many bytes, and is gone with the process.
    pub fn on_small_disk(mut self, bytes: u64) -> Self {
        self.disk = Some(bytes);
        self
    }

    /// Without a port for the engine among the arguments.
    pub fn without_port(mut self) -> Self {
        self.engine_port = None;
        self
    }

    /// With a variable in the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its system calls on files and sockets written to this file.
    pub fn traced(mut self, file: &Path) -> Self {
        self.trace = Some(file.to_owned());
        self
    }

    /// With the engine of another collector as its ClickHouse server, at `port`: its own or a proxy's.
    pub fn on_server(self, server: &Setup, port: u16) -> Self {
        self.env("WEIR_CLICKHOUSE_URL", &format!("http://127.0.0.1:{port}"))
            .env("WEIR_CLICKHOUSE_USER", "weir")
            .env("WEIR_CLICKHOUSE_PASSWORD", &engine_password(server.data_dir()))
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    #[track_caller]
    pub fn engine_port(&self) -> u16 {
        self.engine_port.expect("a port")
    }

    /// Names of the journal's segment files.
    pub fn segments(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.data_dir().join("journal")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lock").collect()
    }

    fn store_arguments(&self) -> Vec<String> {
        let data = self.data.path().to_str().unwrap().to_owned();
        let port = self.engine_port.map(|port| ["--engine-port".into(), port.to_string()]);
        ["--data-dir".into(), data].into_iter().chain(port.into_iter().flatten()).collect()
    }

    /// Runs a command of `weir` other than `serve` on the same store, and gives what it printed.
    #[track_caller]
    pub fn weir(&self, arguments: &[&str]) -> String {
        let mut command = weir();
        command.args(arguments).args(self.store_arguments()).envs(self.environment.iter().cloned());
        let output = command.output().expect("weir can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weir {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Starts a collector, and returns when it serves.
    #[track_caller]
    pub fn start(self) -> Collector {
        let embedded = self.demo;
        let collector = self.spawn().await_serving();
        if embedded {
            collector.keep_copies();
        }
        collector
    }

    /// Starts a collector, and does not wait for it.
    #[track_caller]
    pub fn spawn(self) -> Starting {
        let mut command = match (&self.trace, self.disk) {
            (Some(file), _) => weir_under_strace(file),
            (None, Some(bytes)) => plain(on_small_disk(&self.data_dir().join("journal"), bytes, WEIR)),
            (None, None) => weir(),
        };
        let mut child = command
            .arg("serve")
            .envs([("WEIR_LISTEN", "127.0.0.1:0"), ("WEIR_OPS_LISTEN", "127.0.0.1:0")])
            .args(self.demo.then_some("--demo"))
            .args(self.store_arguments())
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect(
                "weir can be started, and strace is there for those that are traced: `make test` sees to it",
            );
        let log = Log::follow(child.stderr.take().unwrap());
        let output = Log::follow(child.stdout.take().unwrap());
        Starting(Collector { listen: NOWHERE, operations: NOWHERE, child, log, output, setup: self })
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A collector that may not serve yet.
pub struct Starting(Collector);

impl Starting {
    #[track_caller]
    pub fn await_serving(self) -> Collector {
        let mut collector = self.0;
        eventually("a collector that serves", || {
            let ended = collector.child.try_wait().unwrap();
            assert!(ended.is_none(), "the collector ended at its start:\n{}", collector.log.text());
            // The last line of what --demo says: everything is ready then.
            let said = collector.output.text().contains("Ctrl-C") || !collector.setup.demo;
            (said && collector.log.text().contains(SERVING)).then_some(())
        });
        let line = collector.log.find(SERVING);
        let address = |field: &str| line[field].as_str().unwrap().parse().unwrap();
        (collector.listen, collector.operations) = (address("listen"), address("operations"));
        collector
    }

    pub fn setup(&self) -> &Setup {
        &self.0.setup
    }

    pub fn signal(&self, signal: &str) {
        self.0.signal(signal);
    }

    /// Kills it, however far it has come.
    pub fn kill(self) -> Setup {
        self.0.kill()
    }

    /// Waits until it ends by itself; gives its exit code and what it said on standard error.
    #[track_caller]
    pub fn await_end(mut self) -> (Option<i32>, String) {
        let status = eventually("the collector's end", || self.0.child.try_wait().unwrap());
        let said = eventually("its last words", || self.0.log.whole());
        (status.code(), said)
    }
}

const SERVING: &str = "\"message\":\"serving\"";

/// The binary under test.
pub fn weir() -> Command {
    plain(Command::new(WEIR))
}

/// The binary under test, which stays the process that is started; strace runs beside it (`-D`).
fn weir_under_strace(file: &Path) -> Command {
    let mut command = plain(Command::new("strace"));
    command.args(["-D", "-f", "-yy", "-s", "100000", "-e", TRACED, "-o"]).arg(file).arg(WEIR);
    command
}

const WEIR: &str = env!("CARGO_BIN_EXE_weir");
const TRACED: &str = "trace=openat,pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync,ftruncate,rename,renameat,\
    renameat2,unlink,unlinkat";

/// A command with nothing of the machine's own settings.
fn plain(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEIR_")) {
        command.env_remove(name);
    }
    // Nor the `weir.toml` that somebody may have in the checkout.
    command.env("WEIR_LOG", "info,weir=debug").env("WEIR_CONFIG", "/dev/null").stdin(Stdio::null());
    command
}

/// A running collector. Dropping it kills it; its engine goes with it.
pub struct Collector {
    pub listen: SocketAddr,
    pub operations: SocketAddr,
    child: Child,
    log: Log,
    output: Log,
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

    /// Has ClickHouse merge nothing: a row that is stored twice is counted twice, for as long as the test likes.
    fn keep_copies(&self) {
        let limits = ["max_bytes_to_merge_at_max_space_in_pool", "max_bytes_to_merge_at_min_space_in_pool"];
        let table = self
            .sql("SELECT create_table_query FROM system.tables WHERE database = 'weir' AND name = 'events'");
        if !table.contains(limits[0]) {
            let settings = limits.map(|limit| format!("{limit} = 1")).join(", ");
            self.admin_sql(&format!("ALTER TABLE weir.events MODIFY SETTING {settings}"));
        }
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
        sql(self.setup.engine_port(), &[], query)
    }

    /// Asks ClickHouse with all rights.
    #[track_caller]
    pub fn admin_sql(&self, query: &str) -> String {
        let password = engine_password(self.setup.data_dir());
        let headers = [("X-ClickHouse-User", "weir"), ("X-ClickHouse-Key", &*password)];
        sql(self.setup.engine_port(), &headers, query).unwrap_or_else(|error| panic!("{query}: {error}"))
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
        eventually("an empty journal", || self.setup.segments().is_empty().then_some(()));
    }

    /// What it was started with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir().to_owned()
    }

    pub fn engine_port(&self) -> u16 {
        self.setup.engine_port()
    }

    /// Waits for a log line with this text.
    #[track_caller]
    pub fn await_log(&self, text: &str) -> serde_json::Value {
        self.log.find(text)
    }

    /// Runs another command of `weir` on the same store.
    #[track_caller]
    pub fn weir(&self, arguments: &[&str]) -> String {
        self.setup.weir(arguments)
    }

    /// Makes a project with this key.
    #[track_caller]
    pub fn create_project(&self, name: &str, key: &str, origins: &[&str]) {
        let mut arguments = vec!["project", "create", name, "--key", key];
        for origin in origins {
            arguments.extend(["--origin", origin]);
        }
        assert_eq!(self.weir(&arguments), key);
    }

    /// The most memory that the collector itself has ever taken, in bytes.
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that the collector itself takes at the moment, in bytes.
    #[track_caller]
    pub fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    #[track_caller]
    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The journal's folder as the collector sees it, also where it is mounted for it alone.
    pub fn journal(&self) -> PathBuf {
        let folder = self.setup.data_dir().join("journal");
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join("root")
            .join(folder.strip_prefix("/").unwrap())
    }

    /// The figures that it shows.
    #[track_caller]
    pub fn figures(&self) -> Figures {
        Figures::parse(&self.operations("/metrics").body)
    }

    /// The process of the embedded engine.
    pub fn engine_pid(&self) -> Option<u32> {
        let said = std::fs::read_to_string(self.setup.data_dir().join("engine/store/status")).ok()?;
        let pid: u32 = said.lines().find_map(|line| line.strip_prefix("PID: "))?.parse().ok()?;
        // The file outlives the process, whose number may be another's by now.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        (parent.trim() == self.child.id().to_string()).then_some(pid)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the collector.
    pub fn signal(&self, signal: &str) {
        signal_process(self.child.id(), signal);
    }

    /// Kills the collector, and gives back what it was started with.
    pub fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup.clone()
    }

    /// Asks the collector to stop, and waits until it has.
    #[track_caller]
    pub fn stop(self) -> (ExitStatus, Setup) {
        let (status, _, setup) = self.stop_with("TERM");
        (status, setup)
    }

    /// Sends a signal and waits for the collector's end; gives everything it has logged as well.
    #[track_caller]
    pub fn stop_with(self, signal: &str) -> (ExitStatus, String, Setup) {
        self.signal(signal);
        self.await_stopped()
    }

    /// Waits for the collector's end.
    #[track_caller]
    pub fn await_stopped(mut self) -> (ExitStatus, String, Setup) {
        let status = eventually("the collector's end", || self.child.try_wait().unwrap());
        let said = eventually("its last words", || self.log.whole());
        (status, said, self.setup.clone())
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
