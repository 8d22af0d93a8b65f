//! `weir serve`: logs, figures, a collector, and the signals that end it or have it read its integrations anew.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::str::FromStr as _;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::process;
use crate::collector::Collector;
use crate::config::{
    CollectorSettings, ConfigError, ConversionArgs, LogArgs, LogFormat, ServeArgs, StoreSettings,
};
use crate::conversions::Forwarder;
use crate::demo::DEMO_KEY;
use crate::http::reachable;
use crate::metrics;
use crate::snippet::script;

/// Threads for everything behind the journal: calls of ClickHouse, the engine's supervision, operations.
const BACKGROUND_THREADS: usize = 2;

pub(super) fn run(args: &ServeArgs, log: &LogArgs) -> anyhow::Result<()> {
    let settings = args.settings()?;
    start_log(log)?;
    process::log_panics();
    process::raise_open_files(settings.listener.max_connections);
    let metrics = metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .thread_name("background")
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let mut shutdown = std::pin::pin!(signalled()?);
        // From the first moment on: it would end the process.
        let hangups = signal(SignalKind::hangup())?;
        let collector = Collector::bind(settings.clone(), metrics).await?;
        let (listen, operations) = (collector.local_addr(), collector.operations_addr()?);
        let serving = tokio::select! {
            serving = collector.start() => serving?,
            () = &mut shutdown => {
                tracing::info!("stopped while starting");
                return Ok(());
            }
        };
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, %operations, "serving");
        let (script, path) = (script(), &settings.listener.paths.script);
        let (pinned, integrity) = (script.pinned_path(path), &script.integrity);
        tracing::info!(path, pinned, integrity, "pages may include the script");
        if args.demo {
            tokio::select! {
                made = serving.prepare_demo() => {
                    made.context("cannot create the demo project")?;
                    print_next_steps(&settings, listen, operations);
                }
                // Whoever asks us to stop does not wait for it.
                () = &mut shutdown => return Ok(serving.run(std::future::ready(())).await?),
            }
        }
        tokio::spawn(reload(args.conversions.clone(), serving.forwarder(), hangups));
        Ok(serving.run(shutdown).await?)
    });
    // What still runs, a read or a sync of a slow disk, has had its time.
    runtime.shutdown_background();
    served
}

fn start_log(log: &LogArgs) -> anyhow::Result<()> {
    let setting = "--log (WEIR_LOG)";
    let filter =
        EnvFilter::try_new(&log.log).map_err(|error| ConfigError::new(setting, error.to_string()))?;
    // A lone word that is no level is read as a module's name, and turns everything else off.
    let is_meant = |part: &str| part.contains('=') || LevelFilter::from_str(part.trim()).is_ok();
    if !log.log.split(',').all(is_meant) {
        let problem = "expected off, error, warn, info, debug, trace, or directives like weir::loader=debug";
        return Err(ConfigError::new(setting, problem).into());
    }
    let is_text = match log.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if is_text { lines.try_init() } else { lines.json().flatten_event(true).try_init() };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Ends when the process is asked to stop.
fn signalled() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Whoever asks twice does not want to wait; the journal is made for that.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopped at once");
            std::process::exit(1);
        });
    })
}

/// Reads the integrations anew each time it is asked to; what cannot be read changes nothing.
async fn reload(args: ConversionArgs, forwarder: Forwarder, mut asked: Signal) {
    while asked.recv().await.is_some() {
        match args.integrations() {
            Ok(integrations) => {
                tracing::info!(integrations = integrations.len(), "read the integrations anew");
                forwarder.configure(integrations);
            }
            Err(error) => tracing::error!(%error, "the integrations stay as they were"),
        }
    }
}

fn print_next_steps(settings: &CollectorSettings, listen: SocketAddr, operations: SocketAddr) {
    let (sql, database) = match &settings.store {
        StoreSettings::Server(server) => (server.url.clone(), &server.database),
        StoreSettings::Embedded(engine) => (format!("http://127.0.0.1:{}/", engine.port), &engine.database),
    };
    println!(
        r#"
Weir takes events on http://{listen}{events}. Send one:

  curl http://{listen}{events} -d '{{"type":"pageview","visitorId":"v_1","projectKey":"{DEMO_KEY}","url":"https://example.com/pricing"}}'

Two seconds later it is a row. SQL is answered on {sql}:

  curl '{sql}' --data-binary 'SELECT timestamp, type, url FROM {database}.events ORDER BY received_at FORMAT PrettyCompact'

Or click on things and see every event become a row: http://{page}/demo

Ctrl-C stops the collector and its engine; everything is kept in {data}.
"#,
        events = settings.listener.paths.events,
        page = reachable(operations),
        data = settings.data_dir.display(),
    );
}
