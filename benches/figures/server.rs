//! The servers under test: Weir as it is released, and the limits.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::bodies::KEY;
use crate::http;
use crate::process::Process;

/// Where nobody listens.
const DEAD: &str = "http://127.0.0.1:1";

/// The project that the snapshot knows, for collectors without a ClickHouse.
const PROJECT: &str = "0199d3a4-5b6c-7def-8123-456789abcdef";

/// The programs that are measured, and where they may write.
pub(crate) struct Programs {
    pub(crate) weir: PathBuf,
    pub(crate) limit: PathBuf,
    pub(crate) folder: PathBuf,
}

/// A ClickHouse server that collectors are pointed at.
#[derive(Clone)]
pub(crate) struct ClickHouse {
    pub(crate) address: SocketAddr,
    pub(crate) password: String,
    /// The engine's process.
    pub(crate) pid: String,
}

/// A collector in a folder of its own, which goes with it.
pub(crate) struct Weir {
    pub(crate) listen: SocketAddr,
    pub(crate) operations: SocketAddr,
    pub(crate) process: Process,
    folder: TempDir,
}

impl Programs {
    /// A collector with this many threads whose ClickHouse is away. It knows the key by its snapshot.
    pub(crate) fn weir_alone(&self, threads: usize, cores: &[usize]) -> anyhow::Result<Weir> {
        let (mut command, folder) = self.weir()?;
        write_snapshot(folder.path())?;
        command.args(["--clickhouse-url", DEAD, "--threads", &threads.to_string()]);
        Weir::start(command, folder, cores)
    }

    /// A collector that loads into this ClickHouse.
    pub(crate) fn weir_before(&self, clickhouse: &ClickHouse, cores: &[usize]) -> anyhow::Result<Weir> {
        let (command, folder) = self.command_before(clickhouse)?;
        Weir::start(command, folder, cores)
    }

    /// The same, not yet started.
    pub(crate) fn command_before(&self, clickhouse: &ClickHouse) -> anyhow::Result<(Command, TempDir)> {
        let (mut command, folder) = self.weir()?;
        command
            .args([
                "--clickhouse-url",
                &format!("http://{}", clickhouse.address),
                "--clickhouse-user",
                "weir",
            ])
            .env("WEIR_CLICKHOUSE_PASSWORD", &clickhouse.password);
        Ok((command, folder))
    }

    /// The embedded engine, held by a collector that gets no events.
    pub(crate) fn engine(&self, cores: &[usize]) -> anyhow::Result<(Weir, ClickHouse)> {
        let (mut command, folder) = self.weir()?;
        let address = free_address()?;
        command.args(["--engine-port", &address.port().to_string()]);
        let holder = Weir::start(command, folder, cores)
            .context("the real engine is needed: `make engine` fetches it")?;
        let access = std::fs::read_to_string(holder.folder.path().join("engine/access"))?;
        let password = access.lines().find_map(|line| line.strip_prefix("password="));
        let password = password.context("no password of the engine")?.to_owned();
        let key = ["project", "create", "figures", "--key", KEY, "--data-dir"];
        let created = plain(&self.weir)
            .args(key)
            .arg(holder.folder.path())
            .args(["--engine-port", &address.port().to_string()])
            .current_dir(holder.folder.path())
            .output()?;
        anyhow::ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let status = std::fs::read_to_string(holder.folder.path().join("engine/store/status"))?;
        let pid = status.lines().find_map(|line| line.strip_prefix("PID: "));
        let pid = pid.context("no process id of the engine")?.to_owned();
        Ok((holder, ClickHouse { address, password, pid }))
    }

    fn weir(&self) -> anyhow::Result<(Command, TempDir)> {
        let folder = tempfile::Builder::new().prefix("figures-").tempdir_in(&self.folder)?;
        let mut command = plain(&self.weir);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--journal-max", "20GiB"])
            .arg("--data-dir")
            .arg(folder.path())
            .current_dir(folder.path());
        Ok((command, folder))
    }

    /// A bare server.
    pub(crate) fn limit(&self, mode: &str, core: usize) -> anyhow::Result<(Process, SocketAddr)> {
        bare(Command::new(&self.limit).arg(mode), core)
    }

    /// A bare server that keeps the bodies, in a file that goes when the folder does.
    pub(crate) fn limit_kept(&self, core: usize) -> anyhow::Result<(Process, SocketAddr, TempDir)> {
        let folder = tempfile::Builder::new().prefix("figures-").tempdir_in(&self.folder)?;
        let mut command = Command::new(&self.limit);
        let (process, address) = bare(command.arg("limit-kept").arg(folder.path().join("kept")), core)?;
        Ok((process, address, folder))
    }
}

fn bare(command: &mut Command, core: usize) -> anyhow::Result<(Process, SocketAddr)> {
    let mut process = Process::start(command, &[core])?;
    let address = process.await_line("127.0.0.1:")?.parse()?;
    Ok((process, address))
}

impl Weir {
    fn start(mut command: Command, folder: TempDir, cores: &[usize]) -> anyhow::Result<Self> {
        let mut process = Process::start(&mut command, cores)?;
        let line = process.await_line(r#""message":"serving""#)?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let address = |field: &str| -> anyhow::Result<SocketAddr> {
            Ok(line[field].as_str().context("no address in the log")?.parse()?)
        };
        Ok(Self { listen: address("listen")?, operations: address("operations")?, process, folder })
    }

    /// Where it takes events.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/events", self.listen)
    }

    /// The figures that it shows.
    pub(crate) fn metrics(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics(http::get(self.operations, "/metrics")?))
    }
}

/// What a collector shows on `/metrics`.
pub(crate) struct Metrics(String);

impl Metrics {
    /// A figure by its name and labels; one that was never counted is 0.
    pub(crate) fn value(&self, sample: &str) -> anyhow::Result<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0.0), str::parse)?)
    }
}

impl ClickHouse {
    /// Asks, with all rights; a body may follow the query, as rows do an INSERT.
    pub(crate) fn ask(&self, query: &str, settings: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let headers = format!("X-ClickHouse-User: weir\r\nX-ClickHouse-Key: {}\r\n", self.password);
        let path = format!("/?database=weir{settings}&query={}", escaped(query));
        http::post(self.address, &path, &headers, body).with_context(|| query.to_owned())
    }
}

/// A query as it stands in a URL.
fn escaped(query: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b',' | b'(' | b')' | b'*' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    query.bytes().map(escape).collect()
}

/// A program with nothing of the user's own settings, and a log that can be read.
fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.env("WEIR_OPS_LISTEN", "127.0.0.1:0").env("WEIR_LOG", "info").env("WEIR_LOG_FORMAT", "json");
    command
}

/// An address on loopback that nobody has.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn write_snapshot(folder: &Path) -> anyhow::Result<()> {
    let key =
        serde_json::json!({ "key": KEY, "id": PROJECT, "name": "figures", "enabled": true, "origins": [] });
    let snapshot = serde_json::json!({ "version": 1, "keys": [key] });
    Ok(std::fs::write(folder.join("projects.json"), snapshot.to_string())?)
}
