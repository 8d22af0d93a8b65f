//! The child process: its life and death, and who may come in.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;
use weir::clickhouse::{Engine, EngineError, EngineSettings};

use super::{Server, answer, client, eventually, settings};
use crate::harness::Setup;

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    kill_process(pid, Signal::KILL).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_comes_back_with_its_data() {
    let (server, store) = Server::with_tables().await;
    store.create_project("shop", Some("pk_live_kept"), &[]).await.expect("a project");
    let first = server.engine.pid().expect("it runs");
    kill(first);
    eventually("another child answers", async || {
        server.engine.pid().is_some_and(|pid| pid != first) && store.version().await.is_ok()
    })
    .await;
    let kept = store.list_projects().await.expect("a list");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].key, "pk_live_kept");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_listener_was_closed_is_started_again() {
    let (server, _store) = Server::with_tables().await;
    let first = server.engine.pid().expect("it runs");
    // Its answer may get lost with the listener.
    let _ = answer(&server.engine.access(), "SYSTEM STOP LISTEN HTTP").await;
    eventually("another child answers", async || {
        server.engine.pid().is_some_and(|pid| pid != first) && server.store().version().await.is_ok()
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_frees_the_port_and_the_directory_at_once() {
    let server = Server::start().await;
    assert!(Engine::running(&server.settings).await.is_some());
    let began = Instant::now();
    let Server { engine, settings, dir } = server;
    engine.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(Engine::running(&settings).await.is_none());
    let again = Engine::start(settings).await.expect("it starts again");
    again.stop().await;
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_named_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let settings = EngineSettings { port, ..settings(dir.path().join("engine")) };
    let error = Engine::start(settings).await.expect_err("the port is taken");
    assert!(matches!(error, EngineError::PortTaken(taken) if taken == port), "{error}");
    assert!(error.to_string().contains("--engine-port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_on_a_directory_waits_for_the_first_to_go() {
    let first = Server::start().await;
    let second = tokio::spawn(Engine::start(first.settings.clone()));
    // Long enough for the second to have found the directory locked: its log of starts is not ours to read.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!second.is_finished(), "it must not take over a directory that is in use");
    let old = first.engine.pid();
    let Server { engine, dir, .. } = first;
    engine.stop().await;
    let second = second.await.expect("no panic").expect("it starts");
    assert_ne!(second.pid(), old);
    second.stop().await;
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_be_started_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(dir.path().join("engine"));
    let missing = EngineSettings { library: Some("/nowhere/libchdb.so".into()), ..settings.clone() };
    assert_eq!(Engine::start(missing).await.expect_err("no library").code(), "engine_missing");
    let wrong = EngineSettings { library: Some(env!("CARGO_BIN_EXE_weir").into()), ..settings.clone() };
    assert_eq!(Engine::start(wrong).await.expect_err("no library").code(), "engine_ended");
    let named = EngineSettings { database: "a`b".to_owned(), ..settings };
    assert_eq!(Engine::start(named).await.expect_err("no name").code(), "engine_database_name");
}

/// Somebody without credentials.
fn visitor(server: &Server) -> clickhouse::Client {
    clickhouse::Client::default().with_url(server.engine.access().url)
}

async fn ask(client: &clickhouse::Client, sql: &str) -> Result<String, String> {
    let mut cursor = client.query_raw(sql).fetch_bytes("TSV").expect("a request");
    let bytes = cursor.collect().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_password_one_may_read_our_tables() {
    let (server, _store) = Server::with_tables().await;
    let visitor = visitor(&server);
    for (sql, expected) in [
        ("SELECT count() FROM weir.events", "0"),
        ("SELECT count() FROM weir.project_keys FINAL", "0"),
        ("SELECT name FROM system.tables WHERE database = 'weir' AND name = 'events'", "events"),
        ("SELECT count() > 0 FROM system.completions", "1"),
        ("SELECT max(number) FROM numbers(10)", "9"),
        ("SELECT currentUser()", "reader"),
    ] {
        assert_eq!(ask(&visitor, sql).await.as_deref(), Ok(expected), "{sql}");
    }
    let as_play = visitor
        .clone()
        .with_header("Origin", server.engine.access().url)
        .with_setting("add_http_cors_header", "1")
        .with_setting("user", "default");
    assert_eq!(ask(&as_play, "SELECT currentUser()").await.as_deref(), Ok("reader"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_password_one_may_do_nothing_else() {
    let (server, _store) = Server::with_tables().await;
    let visitor = visitor(&server);
    let secret = server.dir.path().join("secret");
    std::fs::write(&secret, "for nobody's eyes").expect("a file");
    let (secret, access) = (secret.display(), server.settings.data_dir.join("access"));
    let access = access.display();
    for sql in [
        format!("SELECT * FROM file('{secret}', 'LineAsString')"),
        format!("SELECT file('{secret}')"),
        format!("SELECT file('{access}')"),
        "SELECT file('/etc/passwd')".to_owned(),
        format!("SELECT file('/proc/{}/environ')", std::process::id()),
        format!("SELECT 1 FORMAT Template SETTINGS format_template_row = '{secret}'"),
        format!("SELECT 1 FORMAT TSV SETTINGS output_format_schema = '{secret}'"),
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')".to_owned(),
        "SELECT * FROM remote('127.0.0.1', system, one)".to_owned(),
        "SELECT * FROM executable('id', 'TSV', 'a String')".to_owned(),
        format!("INSERT INTO FUNCTION file('{secret}', 'TSV', 'a String') SELECT 'x'"),
        "INSERT INTO weir.migrations (number, name) SELECT 9, 'x'".to_owned(),
        "CREATE TABLE weir.mine (a String) ENGINE = MergeTree ORDER BY a".to_owned(),
        "CREATE TEMPORARY TABLE mine (a String)".to_owned(),
        "CREATE DATABASE mine".to_owned(),
        "CREATE FUNCTION mine AS x -> x".to_owned(),
        "GRANT ALL ON *.* TO reader".to_owned(),
        "DROP TABLE weir.events".to_owned(),
        "TRUNCATE TABLE weir.events".to_owned(),
        "ALTER TABLE weir.events DELETE WHERE 1".to_owned(),
        "OPTIMIZE TABLE weir.events".to_owned(),
        "BACKUP TABLE weir.events TO File('x')".to_owned(),
        "SYSTEM SHUTDOWN".to_owned(),
        "SYSTEM STOP LISTEN HTTP".to_owned(),
        "KILL QUERY WHERE 1 SYNC".to_owned(),
        "SELECT * FROM system.processes".to_owned(),
        "SELECT * FROM system.users".to_owned(),
        "SELECT count() FROM weir.events SETTINGS max_memory_usage = 0".to_owned(),
        "SELECT count() FROM weir.events SETTINGS readonly = 0".to_owned(),
    ] {
        let error = ask(&visitor, &sql).await.expect_err(&sql);
        let refused = ["ACCESS_DENIED", "READONLY", "Permission denied"];
        assert!(refused.iter().any(|word| error.contains(word)), "{sql}: {error}");
    }
    let kept = std::fs::read_to_string(server.dir.path().join("secret")).expect("a file");
    assert_eq!(kept, "for nobody's eyes");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_comes_in() {
    let (server, _store) = Server::with_tables().await;
    let visitor = visitor(&server);
    for (who, client) in [
        ("a guess", visitor.clone().with_user("weir").with_password("guess")),
        ("no guess", visitor.clone().with_user("weir")),
        ("the engine's own user", visitor.clone().with_user("default")),
        ("another site's page", visitor.clone().with_header("Origin", "https://evil.example")),
        ("a page of no site", visitor.clone().with_header("Origin", "null")),
        ("a name that resolves to this machine", visitor.clone().with_header("Host", "evil.example:8123")),
        ("two users", visitor.clone().with_user("weir").with_header("Authorization", "Basic ZGVmYXVsdDo=")),
        (
            "the engine's own user by Basic",
            visitor.clone().with_header("Authorization", "Basic ZGVmYXVsdDo="),
        ),
        ("two users, one in the URL", visitor.clone().with_user("weir").with_setting("user", "default")),
    ] {
        assert!(ask(&client, "SELECT 1").await.is_err(), "{who}");
    }
    assert_eq!(answer(&server.engine.access(), "SELECT currentUser()").await.expect("an answer"), "weir");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_ended_by_its_id() {
    let server = Server::start().await;
    let store = server.store();
    server.sql("CREATE DATABASE weir").await;
    store.end_queries("never-seen").await.expect("nothing to end");
    let slow = client(&server.engine.access())
        .query_raw("SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1 FORMAT Null")
        .with_setting("query_id", "slow-one");
    let slow = tokio::spawn(slow.execute());
    let running = "SELECT count() FROM system.processes WHERE query_id = 'slow-one'";
    eventually("the query runs", async || server.sql(running).await == "1").await;
    store.end_queries("slow-one").await.expect("it ends");
    assert_eq!(server.sql(running).await, "0");
    assert!(slow.await.expect("no panic").is_err(), "a killed query fails");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_dies_with_its_parent() {
    let setup = Setup::new();
    let settings = EngineSettings { port: setup.engine_port(), ..settings(setup.data_dir().join("engine")) };
    let killed =
        tokio::task::spawn_blocking(|| setup.start().kill()).await.expect("it serves, and is killed");
    // At once, while the old one may still hold the directory and the port.
    let successor = Engine::start(settings.clone()).await.expect("a successor starts");
    successor.stop().await;
    assert!(std::net::TcpListener::bind(("127.0.0.1", settings.port)).is_ok(), "the port is free");
    drop(killed);
}
