//! The README is right: every command in it is run, in its order, and answers what stands below it; the table of
//! settings is that of the binary.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{engine_password, eventually, weir};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block: its language and its text.
struct Block {
    language: String,
    text: String,
}

/// Its text.
pub fn readme() -> String {
    fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let text = readme();
    let mut fences = text.split("\n```");
    fences.next();
    while let (Some(block), Some(_)) = (fences.next(), fences.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push(Block { language: language.to_owned(), text: text.to_owned() });
    }
    blocks
}

/// The block of `weir.toml` that it shows for a platform.
#[track_caller]
pub fn integration(platform: &str) -> String {
    let line = format!("\nplatform = \"{platform}\"\n");
    let block = blocks().into_iter().find(|block| block.language == "toml" && block.text.contains(&line));
    block.unwrap_or_else(|| panic!("the README shows no block for {platform}")).text
}

/// A shell that runs a block in the checkout, in a process group of its own.
fn shell(script: &str, data: &Path) -> Command {
    let mut command = Command::new("bash");
    // A user's shell has nothing of what cargo and make set for a test; with it, cargo would build everything anew.
    let is_ours = |name: &str| ["WEIR_", "CARGO", "MAKE"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars().filter(|(name, _)| is_ours(name) && name != "CARGO_HOME") {
        command.env_remove(name);
    }
    // In the checkout, the file would be that of every collector which other tests start.
    let config = data.join("weir.toml");
    let script = script.replace("> weir.toml", &format!("> {}", config.display()));
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(ROOT);
    command.env("WEIR_DATA_DIR", data).env("WEIR_CONFIG", config);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Something of the README that runs until it is told to stop.
struct Running {
    child: Child,
    /// What it prints, on standard output and as its log.
    lines: Receiver<String>,
}

impl Running {
    /// Starts it, and waits until it prints `ready`.
    fn start(mut command: Command, ready: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // When it is to be killed, nobody reads on.
                    let _ = send.send(line);
                }
            });
        }
        drop(send);
        let running = Self { child, lines };
        running.read_until(ready);
        running
    }

    fn read_until(&self, text: &str) {
        let mut said = String::new();
        while !said.contains(text) {
            let line = self.lines.recv_timeout(Duration::from_mins(1));
            let line = line.unwrap_or_else(|error| panic!("{error} before it said {text:?}:\n{said}"));
            said.push_str(&line);
            said.push('\n');
        }
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        Command::new("kill").args(["-s", signal, "--", &group]).status().unwrap();
    }

    /// Stops it as Ctrl-C does. (The exit code would be that of make, which dies of the signal.)
    fn interrupt(mut self) {
        self.signal("INT");
        self.read_until("\"message\":\"stopped\"");
        eventually("the end of what runs", || self.child.try_wait().unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// Runs a block to its end; gives what it printed.
#[track_caller]
pub fn run(script: &str, data: &Path) -> String {
    let output = shell(script, data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{error}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The block for production, pointed at the engine that runs here instead of a server that does not exist.
fn run_production(script: &str, data: &Path) {
    let elsewhere = TempDir::new().unwrap();
    let mut here = script.to_owned();
    for (there, ours) in [
        ("https://clickhouse.example.com:8443", "http://127.0.0.1:8123"),
        ("PASSWORD=secret", &format!("PASSWORD={}", engine_password(data))),
        ("/var/lib/weir", elsewhere.path().to_str().unwrap()),
    ] {
        assert!(here.contains(there), "the README no longer names {there}");
        here = here.replace(there, ours);
    }
    let mut command = shell(&here, data);
    command.env("WEIR_LISTEN", "127.0.0.1:0").env("WEIR_OPS_LISTEN", "127.0.0.1:0");
    Running::start(command, "\"message\":\"serving\"").interrupt();
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    for port in [8080, 8081, 8123, 9999] {
        let taken = TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(!taken, "the README's commands need port {port}, which something else listens on");
    }
    let folder = TempDir::new().unwrap();
    let data = folder.path();
    let ci = fs::read_to_string(Path::new(ROOT).join(".ci/run")).unwrap();
    fs::write(data.join("weir.toml"), "").unwrap();
    let (mut collector, mut receiver): (Option<Running>, Option<Running>) = (None, None);
    let blocks = blocks();
    let mut answers = 0;
    for (index, block) in blocks.iter().enumerate() {
        let script = block.text.as_str();
        if block.language == "text" {
            let receiver =
                receiver.as_ref().expect("the README has something run that prints what it is sent");
            receiver.read_until(script.trim_end());
            answers += 1;
        }
        if block.language != "sh" {
            continue;
        }
        if script.starts_with("make run") {
            if let Some(before) = collector.take() {
                before.interrupt();
            }
            collector = Some(Running::start(shell(script, data), "Ctrl-C"));
        } else if script.starts_with("node ") {
            receiver = Some(Running::start(shell(script, data), "listening"));
        } else if script.starts_with("make ") {
            for line in script.lines() {
                assert!(ci.lines().any(|run| run == line), "nothing runs {line:?}");
            }
        } else if script.contains("weir serve") {
            run_production(script, data);
        } else {
            let answer =
                blocks.get(index + 1).filter(|next| ["json", "tsv", "html"].contains(&&*next.language));
            match answer {
                None => drop(run(script, data)),
                // A tag, with more below it that differs with each build of the script.
                Some(answer) if answer.language == "html" => {
                    let printed = run(script, data);
                    assert!(printed.starts_with(answer.text.trim_end()), "{script}\n{printed}");
                }
                Some(answer) if script.contains("/api/events") => {
                    assert_eq!(run(script, data), answer.text.trim_end(), "{script}");
                }
                Some(answer) => {
                    let expected = answer.text.trim_end();
                    eventually(&format!("{script} to give\n{expected}"), || {
                        (run(script, data) == expected).then_some(())
                    });
                }
            }
            answers += usize::from(answer.is_some());
        }
    }
    assert_eq!(answers, 13, "the README's commands and what they answer are not found any more");
    collector.expect("the README starts a collector").interrupt();
}

/// The cells of the README's table of settings that name a flag.
fn settings_of_the_readme() -> BTreeSet<String> {
    let text = readme();
    let rows = text.lines().filter(|line| line.starts_with("| `--"));
    rows.map(|row| row.split('|').skip(1).take(3).map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

/// The same, of the help text: flag, variable and default.
fn settings_of_the_binary() -> BTreeSet<String> {
    let output =
        weir().args(["serve", "--help"]).env_remove("WEIR_LOG").env_remove("WEIR_CONFIG").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let value = |line: &str, name: &str| {
        line.strip_prefix(name).map(|rest| format!("`{}`", rest.trim_end_matches(['=', ']'])))
    };
    let mut settings = BTreeSet::new();
    let (mut flag, mut variable, mut default) = (String::new(), String::new(), String::new());
    for line in help.lines().map(str::trim).chain(["--end"]) {
        if let Some(name) = line.strip_prefix("-h, ").or(Some(line)).filter(|name| name.starts_with("--")) {
            if !variable.is_empty() {
                settings.insert(format!("{flag} {variable} {default}"));
            }
            flag = format!("`{}`", name.split(' ').next().unwrap());
            (variable, default) = (String::new(), String::new());
        } else if let Some(name) = value(line, "[env: ") {
            variable = name;
        } else if let Some(text) = value(line, "[default: ") {
            default = text;
        }
    }
    settings
}

#[test]
fn the_table_of_settings_is_that_of_the_binary() {
    let (told, real) = (settings_of_the_readme(), settings_of_the_binary());
    assert!(real.len() > 30, "{real:?}");
    let missing: Vec<_> = real.difference(&told).collect();
    let wrong: Vec<_> = told.difference(&real).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "missing: {missing:#?}\nnot so: {wrong:#?}");
}

#[test]
fn every_figure_of_the_readme_is_one_of_the_binary() {
    let registered = fs::read_to_string(Path::new(ROOT).join("src/metrics.rs")).unwrap();
    let text = readme();
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    let starts = text.match_indices("weir_").map(|(start, _)| &text[start..]);
    let names = starts.map(|rest| &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]);
    // The beginning of a pattern is no name.
    let told: BTreeSet<&str> = names.filter(|name| !name.ends_with('_')).collect();
    assert!(told.len() > 10, "{told:?}");
    let wrong: Vec<_> = told.iter().filter(|name| !registered.contains(&format!("\"{name}\""))).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
