//! The load generator: that what it reports is what happened.
#![cfg(feature = "net")]

#[path = "../examples/swarm/latency.rs"]
#[allow(dead_code, reason = "the report uses all of it")]
mod latency;

use latency::Latency;
use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The program and, beside it, the server `echo`. Cargo builds examples for a run of all tests, and not for one of this file alone.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "echo", "--example", "swarm", "--message-format", "json"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let out = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().expect("cargo runs");
        let mut messages =
            out.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let built = messages.rfind(|message| message["target"]["name"] == "swarm");
        PathBuf::from(built.expect("it is built")["executable"].as_str().expect("a program"))
    })
}

fn swarm(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("it runs")
}

/// What it reports, after a run that ended with `status`.
fn report(args: &[&str], status: i32) -> Value {
    let out = swarm(&[args, &["--json"]].concat());
    assert_eq!(out.status.code(), Some(status), "{}{}", text(&out.stdout), text(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON on standard output")
}

/// Its complaint, after a run that could not be made.
fn complaint(args: &[&str]) -> String {
    let out = swarm(args);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), String::new()), "{args:?}");
    text(&out.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that was started here.
struct Echo {
    child: Child,
    port: u16,
}

impl Echo {
    fn start() -> Self {
        let mut command = Command::new(program().with_file_name("echo"));
        let mut child =
            command.args(["--port", "0", "--workers", "1"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("its first line");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill(1)").success());
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Percentiles in order, and as many values as there should be.
fn assert_sane(latency: &Value, count: u64) {
    assert_eq!(latency["count"], count, "{latency}");
    let of = |name: &str| latency[format!("{name}_us")].as_f64().expect("a number");
    let rising = ["min", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "max"].map(of);
    assert!(rising.is_sorted() && rising[0] > 0.0, "{latency}");
    assert!(of("mean") >= of("min") * 0.99 && of("mean") <= of("max"), "{latency}");
}

#[test]
fn hold_opens_all_loses_none_and_reads_the_servers_memory_and_time() {
    for url in ["ws://any/", "http://any/events"] {
        let args = [
            "hold",
            url,
            "--servers",
            "2",
            "--processes",
            "3",
            "--connections",
            "600",
            "--duration",
            "200ms",
            "--warm",
            "100",
        ];
        let report = report(&args, 0);
        for (field, expected) in
            [("opened", 600), ("open", 600), ("failed", 0), ("lost", 0), ("processes", 3), ("servers", 2)]
        {
            assert_eq!(report[field], expected, "{field}");
        }
        assert_sane(&report["opening"], 600);
        assert_eq!(report["server_not_fresh"], Value::Null);
        for moment in ["memory_before", "memory_warm", "memory_full", "memory_after"] {
            let (rss, anon) = (report[moment]["rss"].as_u64().unwrap(), report[moment]["anon"].as_u64().unwrap());
            assert!(anon > 0 && rss > anon, "{moment}");
        }
        // A page for each connection would be 4,096.
        let each = report["bytes_per_connection_beyond_warm"]["anon"].as_f64().unwrap();
        assert!((0.0..2000.0).contains(&each), "{each}");
        assert!(report["server_cpu_share"].as_f64().unwrap() < 2.0);
        assert!(report["held_s"].as_f64().unwrap() >= 0.2);
    }
}

#[test]
fn hold_keeps_lines_up_by_pings_of_its_own_and_tells_their_round_trips() {
    let args = ["hold", "--servers", "1", "-c", "20", "-d", "1500ms", "--heartbeat", "500ms"];
    let report = report(&args, 0);
    let pongs = report["pongs"].as_u64().unwrap();
    assert!((40..=100).contains(&pongs), "{pongs}");
    assert_sane(&report["round_trips"], pongs);
}

#[test]
fn connections_that_end_are_reported_lost_with_their_cause() {
    let mut echo = Echo::start();
    let (url, pid) = (echo.url(), echo.child.id().to_string());
    let run = thread::spawn(move || report(&["hold", &url, "--pid", &pid, "-c", "50", "-d", "60", "--warm", "0"], 2));
    // All are open within a second; then the run ends at once, as there is nothing left to hold.
    thread::sleep(Duration::from_millis(2000));
    echo.child.kill().unwrap();
    echo.child.wait().unwrap();
    let report = run.join().unwrap();
    assert_eq!((&report["opened"], &report["lost"], &report["open"]), (&50.into(), &50.into(), &0.into()));
    let causes = report["causes"].as_object().unwrap();
    assert!(causes.len() == 1 && causes.iter().all(|(cause, n)| cause.contains("1006") && *n == 50), "{causes:?}");
    assert!(report["held_s"].as_f64().unwrap() < 30.0);
}

#[test]
fn echo_counts_every_message_and_measures_each() {
    for more in [&["--in-flight", "8"][..], &["--text", "--size", "16"], &["--size", "70000", "--processes", "2"]] {
        let args = [&["echo", "--servers", "1", "-c", "6", "--messages", "3k"], more].concat();
        let report = report(&args, 0);
        for (field, expected) in [("messages", 3000), ("wrong", 0), ("unanswered", 0), ("lost", 0)] {
            assert_eq!(report[field], expected, "{field}");
        }
        assert_eq!(report["latency_from"], "sent");
        assert_sane(&report["latency"], 3000);
        let (rate, elapsed) = (report["messages_per_s"].as_f64().unwrap(), report["measured_s"].as_f64().unwrap());
        assert!((rate * elapsed - 3000.0).abs() < 1.0, "{rate} {elapsed}");
        assert!(report["server_cpu_s_per_million"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_count_of_messages_is_exact_however_few_they_are_and_whoever_sends_them() {
    for (n, more) in [
        (1, &[][..]),
        (5, &["--processes", "4"]),
        (40, &["-c", "40", "--in-flight", "8"]),
        (7, &["-c", "10", "--processes", "3", "--rate", "1k"]),
    ] {
        let n_text = n.to_string();
        let args = [&["echo", "--servers", "1", "--messages", &n_text], more].concat();
        let report = report(&args, 0);
        assert_eq!((&report["messages"], &report["unanswered"]), (&n.into(), &0.into()), "{args:?}");
        assert_eq!(report["latency"]["count"], n, "{args:?}");
    }
}

#[test]
fn an_echo_ends_with_its_last_connection_and_counts_the_time_that_passed() {
    for how in [&["-d", "60"][..], &["--messages", "100M"]] {
        let mut echo = Echo::start();
        let url = echo.url();
        let run = thread::spawn(move || report(&[&["echo", &url, "-c", "4", "--warmup", "0"], how].concat(), 2));
        thread::sleep(Duration::from_millis(1500));
        echo.child.kill().unwrap();
        echo.child.wait().unwrap();
        let report = run.join().unwrap();
        assert_eq!((&report["ended_early"], &report["lost"]), (&true.into(), &4.into()));
        let measured = report["measured_s"].as_f64().unwrap();
        assert!((0.3..10.0).contains(&measured), "{measured}");
        let rate = report["messages"].as_f64().unwrap() / measured;
        assert!((report["messages_per_s"].as_f64().unwrap() / rate - 1.0).abs() < 1e-6);
    }
}

#[test]
fn echo_on_a_schedule_sends_what_is_due_and_no_more() {
    let args = ["echo", "--servers", "1", "-c", "7", "--rate", "2000", "--warmup", "200ms", "-d", "1"];
    let report = report(&args, 0);
    assert_eq!(report["latency_from"], "due");
    let count = report["latency"]["count"].as_u64().unwrap();
    assert!((1999..=2001).contains(&count), "{count}");
    assert_sane(&report["latency"], count);
    assert_eq!(report["unanswered"], 0);
}

/// A generator that waits for a stalled server sends nothing meanwhile, and so measures one slow message where users would have seen hundreds
/// ("coordinated omission").
#[test]
fn a_stall_counts_for_every_message_that_was_due_in_it() {
    let echo = Echo::start();
    let url = echo.url();
    let run = thread::spawn(move || {
        report(&["echo", &url, "-c", "4", "--in-flight", "2", "--rate", "1000", "--warmup", "0", "-d", "2500ms"], 0)
    });
    thread::sleep(Duration::from_millis(1200));
    echo.signal("-STOP");
    thread::sleep(Duration::from_millis(600));
    echo.signal("-CONT");
    let report = run.join().unwrap();
    // 600 of 2,500 messages were due in the stall, evenly: a tenth of all waited for 350 ms and longer.
    assert!(report["latency"]["p90_us"].as_f64().unwrap() > 200_000.0, "{report}");
    let count = report["latency"]["count"].as_u64().unwrap();
    assert!((2499..=2501).contains(&count), "{count}");
}

#[test]
fn fanout_expects_each_publication_at_each_subscriber() {
    for url in ["ws://any/", "http://any/events"] {
        let args =
            ["fanout", url, "--servers", "1", "-c", "40", "--processes", "2", "--messages", "30", "--rate", "60"];
        let report = report(&args, 0);
        for (field, expected) in [
            ("subscribers", 40),
            ("publications", 30),
            ("deliveries", 1200),
            ("missing", 0),
            ("disordered", 0),
            ("wrong", 0),
        ] {
            assert_eq!(report[field], expected, "{field} {url}");
        }
        assert_sane(&report["latency"], 1200);
    }
}

#[test]
fn a_publication_that_does_not_arrive_is_missing() {
    // In mode `echo` a message goes back to its sender and to nobody else.
    let echo = Echo::start();
    let report = report(&["fanout", &echo.url(), "-c", "5", "--messages", "3"], 2);
    assert_eq!((&report["deliveries"], &report["missing"]), (&0.into(), &15.into()));
    assert_eq!(report["latency"]["count"], 0);
}

#[test]
fn parked_polls_are_answered_by_one_publication_and_park_again() {
    for more in [&[][..], &["--session", "--form", "blocks"]] {
        let args = [&["park", "-c", "400", "--warm", "100", "--processes", "2", "--rounds", "2"], more].concat();
        let report = report(&args, 0);
        for (field, expected) in
            [("parked", 400), ("warm", 100), ("failed", 0), ("lost", 0), ("missing", 0), ("gaps", 0)]
        {
            assert_eq!(report[field], expected, "{field}");
        }
        let rounds = report["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        assert!(rounds.iter().all(|round| round["answered"] == 400), "{rounds:?}");
        let worst = report["bytes_per_poll_worst"].as_f64().unwrap();
        assert!(rounds.iter().all(|round| round["bytes_per_poll"].as_f64().unwrap() <= worst));
        // Pages are 4 KiB, and 300 polls are few of them; but a page each it is not.
        assert!((0.0..2500.0).contains(&worst), "{worst}");
    }
}

#[test]
fn a_parked_poll_over_the_limit_is_an_error_after_the_report() {
    let out = swarm(&["park", "-c", "300", "--warm", "10", "--rounds", "1", "--limit", "1", "--json"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(report["bytes_per_poll"].as_f64().unwrap() > 1.0);
    assert!(text(&out.stderr).contains("more than 1.00"), "{}", text(&out.stderr));
}

#[test]
fn each_publication_of_a_hub_reaches_each_subscriber_of_each_transport() {
    let report = report(&["fanout", "--hub", "-c", "60", "--processes", "2", "--rounds", "2"], 0);
    for case in ["websocket", "stream", "poll", "mixed"] {
        let case = &report[case];
        // Two passes, each of two publications unmeasured and one measured.
        for (field, expected) in [("deliveries", 360), ("missing", 0), ("failed", 0), ("wrong", 0)] {
            assert_eq!(case[field], expected, "{field} {case}");
        }
        assert_sane(&case["latency"], 120);
        assert_eq!(case["us_per_delivery_rounds"].as_array().unwrap().len(), 2);
        let (delivery, all) = (case["us_per_delivery"].as_f64().unwrap(), case["us_with_requests"].as_f64().unwrap());
        assert!(delivery > 0.0 && all >= delivery, "{case}");
    }
    let ratio =
        report["mixed"]["us_per_delivery"].as_f64().unwrap() / report["websocket"]["us_per_delivery"].as_f64().unwrap();
    assert!((report["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9);
    let out = swarm(&["fanout", "--hub", "-c", "20", "--rounds", "2", "--limit", "0.001"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stdout).contains("mixed to WebSocket") && text(&out.stderr).contains("more than 0.001"));
}

#[test]
fn latency_measures_each_delivery_and_each_return() {
    for transport in ["websocket", "stream", "poll"] {
        let args = ["latency", "--transport", transport, "-c", "4", "--rate", "50", "-d", "1", "--most-rate", "500"];
        // How much a machine sustains is its own affair.
        let out = swarm(&[&args[..], &["--json"]].concat());
        let report: Value = serde_json::from_slice(&out.stdout).expect("JSON on standard output");
        let of = &report[transport];
        assert_eq!(of["problem"], Value::Null, "{report}");
        assert_sane(&of["latency"], 200);
        assert_sane(&of["returning"], 4);
        assert!([0.0, 500.0].contains(&of["sustained_per_s"].as_f64().unwrap()), "{report}");
        assert_eq!(out.status.code(), Some(if of["sustained_per_s"] == 500.0 { 0 } else { 2 }));
    }
}

#[test]
fn subscribers_of_what_is_no_hub_are_refused_with_its_answer() {
    let echo = Echo::start();
    let pid = echo.child.id().to_string();
    let complaint = complaint(&["park", &format!("http://127.0.0.1:{}/", echo.port), "--pid", &pid, "-c", "3"]);
    assert!(!complaint.is_empty());
}

/// A server that lets in who brings a token, and publishes nothing for anybody.
fn guarded(token: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map_while(Result::ok);
                let mut socket = socket;
                while let Some(request) = lines.next() {
                    let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                    let answer = if !head.iter().any(|line| line.ends_with(token)) {
                        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
                    } else if request.starts_with("GET") {
                        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: here\n\n"
                    } else {
                        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    };
                    let _ = socket.write_all(answer.as_bytes());
                }
            });
        }
    });
    format!("http://{address}/events")
}

#[test]
fn a_fan_out_of_nothing_is_an_error() {
    let url = guarded("Bearer secret");
    let args = ["fanout", &url, "-c", "2", "--messages", "3", "--header", "Authorization: Bearer secret"];
    let report = report(&args, 2);
    assert_eq!((&report["publications"], &report["subscribers"]), (&0.into(), &2.into()));
    assert!(report["error"].as_str().unwrap().contains("404"), "{report}");
    let out = swarm(&args);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stdout).contains("was answered with 404"), "{}", text(&out.stdout));
    // Without it nobody even subscribes.
    assert!(complaint(&args[..6]).contains("401"));
}

#[test]
fn a_server_that_was_used_before_is_said_to_be() {
    let echo = Echo::start();
    let (url, pid) = (echo.url(), echo.child.id().to_string());
    let args = ["hold", &url, "--pid", &pid, "-c", "1500", "-d", "200ms", "--warm", "300"];
    let fresh = report(&args, 0);
    assert_eq!(fresh["server_not_fresh"], Value::Null, "{fresh}");
    let used = report(&args, 0);
    assert!(used["server_not_fresh"].is_string(), "{used}");
}

#[test]
fn servers_share_a_port_only_when_told_to() {
    let args = ["echo", "--servers", "2", "--ports", "shared", "-c", "8", "--messages", "100"];
    assert_eq!(report(&args, 0)["messages"], 100);
    let echo = Echo::start();
    let mut second = Command::new(program().with_file_name("echo"));
    let out = second.args(["--port", &echo.port.to_string(), "--workers", "1"]).output().unwrap();
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), String::new()));
    let complaint = text(&out.stderr);
    assert!(complaint.starts_with("error: ") && complaint.contains("in use"), "{complaint}");
}

#[test]
fn echo_names_what_is_wrong_with_its_command_line() {
    let echo = |args: &[&str]| Command::new(program().with_file_name("echo")).args(args).output().unwrap();
    for args in [["--workers", "0"], ["--max-message", "0"], ["--mode", "shout"], ["--port", "65536"], ["--no", ""]] {
        let out = echo(&args);
        let complaint = text(&out.stderr);
        assert!(out.status.code() == Some(1) && complaint.starts_with("error: "), "{args:?} {complaint}");
        assert!(!complaint.contains("Error") && !complaint.contains('{'), "{complaint}");
    }
    let help = echo(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("--shared"));
}

#[test]
fn a_plot_is_an_svg_or_a_page_that_holds_one() {
    let directory = std::env::temp_dir();
    for extension in ["svg", "html"] {
        let file = directory.join(format!("swarm-plot-{}.{extension}", std::process::id()));
        let out = swarm(&["echo", "--servers", "1", "--messages", "500", "--plot", file.to_str().unwrap()]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let plot = fs::read_to_string(&file).expect("it was written");
        fs::remove_file(&file).unwrap();
        assert_eq!((plot.matches("<svg").count(), plot.matches("</svg>").count()), (1, 1));
        assert_eq!(plot.starts_with("<!doctype html>"), extension == "html");
        assert!(plot.contains("99.9 %") && plot.contains("<path d=\"M") && !plot.contains("NaN"), "{plot}");
        let table = text(&out.stdout);
        assert!(table.contains("messages that came back") && table.contains("p99.9"), "{table}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_with_what_to_do_about_it() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = complaint(&["hold", &format!("ws://127.0.0.1:{port}/")]);
    assert!(nobody.contains("nobody answers") && nobody.contains("--servers 1"), "{nobody}");
    let files = complaint(&["echo", "--servers", "1", "-c", "100M", "--processes", "1"]);
    assert!(files.contains("ulimit -n") && files.contains("--processes"), "{files}");
    for (args, word) in [
        (&[][..], "--help"),
        (&["dance"], "hold, echo or fanout"),
        (&["park", "--rate", "3"], "--rate"),
        (&["park", "ws://127.0.0.1:9/"], "http://"),
        (&["park", "--limit", "0"], "--limit"),
        (&["park", "--form", "xml"], "json or blocks"),
        (&["fanout", "--session"], "--session"),
        (&["fanout", "--hub", "--messages", "3"], "--messages"),
        (&["latency", "--servers", "2"], "--servers 1"),
        (&["latency", "--transport", "pigeon"], "websocket, stream or poll"),
        (&["hold", "--connections", "none"], "--connections"),
        (&["hold", "--size", "3"], "--size"),
        (&["hold", "-c", "0"], "at least 1"),
        (&["hold", "gopher://here"], "ws://"),
        (&["hold", "wss://127.0.0.1/"], "TLS"),
        (&["echo", "http://127.0.0.1/"], "WebSocket"),
        (&["echo", "--size", "7"], "--size"),
        (&["echo", "--rate", "-1"], "--rate"),
        (&["echo", "--duration", "soon"], "--duration"),
        (&["echo", "-d", "0"], "-d"),
        (&["hold", "--duration", "0ms"], "--duration"),
        (&["fanout", "--rate", "fastM"], "--rate"),
        (&["fanout", "--header", "no colon"], "--header"),
        (&["fanout", "--header", "Host: elsewhere"], "--header"),
        (&["echo", "--plot", "/no/such/directory/x.svg"], "/no/such/directory"),
        (&["echo", "--plot", "/tmp/x.png"], ".svg"),
        (&["echo", "--rate", "1M", "--plot", "plot"], ".svg"),
        (&["hold", "--pid", "me"], "--pid"),
        (&["hold", "--server", "x"], "--servers"),
        (&["hold", "--servers", "1", "--server", "/no/such/program"], "/no/such/program"),
        (&["hold", "--servers", "1", "--server", "true"], "where it listens"),
        (&["fanout", "--servers", "2", "-c", "2"], "--servers 1"),
    ] {
        let complaint = complaint(args);
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    }
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let complaint = complaint(&["hold", &url, "-c", "3"]);
    assert!(complaint.contains("403") && complaint.contains("3 times"), "{complaint}");
}

#[test]
fn help_names_every_option_of_a_command() {
    let general = swarm(&["--help"]);
    assert!(general.status.success() && text(&general.stdout).contains("fanout"));
    for (command, options) in [
        ("hold", &["--duration", "--heartbeat", "--warm"][..]),
        ("echo", &["--messages", "--size", "--text", "--in-flight", "--rate", "--warmup"]),
        ("fanout", &["--messages", "--size", "--rate", "--publish-path"]),
        ("park", &["--session", "--warm", "--rounds", "--form", "--limit"]),
        ("latency", &["--transport", "--rate", "--duration", "--most-rate", "--form"]),
    ] {
        let help = swarm(&[command, "--help"]);
        let help = text(&help.stdout);
        for option in options.iter().chain(&[
            "--connections",
            "--header",
            "--processes",
            "--pid",
            "--servers",
            "--plot",
            "--json",
        ]) {
            assert!(help.contains(option), "{command} {option}");
        }
    }
}

#[test]
fn nothing_outlives_a_leader_that_is_killed() {
    let mut command = Command::new(program());
    command.args(["hold", "--servers", "2", "--processes", "2", "-c", "10", "-d", "60"]).stderr(Stdio::null());
    let mut leader = command.stdout(Stdio::null()).spawn().unwrap();
    // A keeper, its two servers, two members.
    let began = Instant::now();
    let family = loop {
        let family = descendants(leader.id());
        if family.len() == 5 || began.elapsed() > Duration::from_secs(10) {
            break family;
        }
        thread::sleep(Duration::from_millis(20));
    };
    leader.kill().unwrap();
    leader.wait().unwrap();
    assert_eq!(family.len(), 5, "{family:?}");
    let is_alive = |pid: &u32| {
        // A zombie is gone: whoever it was left to has not looked yet.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']) && !rest.is_empty())
    };
    let began = Instant::now();
    while family.iter().any(is_alive) {
        assert!(began.elapsed() < Duration::from_secs(5), "{family:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            all.push(child);
            all.extend(descendants(child));
        }
    }
    all
}

proptest! {
    // Each makes three histograms of 270 KB.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn percentiles_are_those_of_the_sorted_values_to_three_digits(
        mut values in prop::collection::vec(1u64..2_000_000_000, 1..400),
        cut in 0usize..400,
    ) {
        // Recorded by two processes, and merged.
        let (mut first, mut second) = (Latency::new(), Latency::new());
        let cut = cut.min(values.len());
        values[..cut].iter().for_each(|value| first.record(*value));
        values[cut..].iter().for_each(|value| second.record(*value));
        let mut merged = Latency::new();
        merged.add_json(&serde_json::from_str(&first.to_json().to_string()).unwrap());
        merged.add_json(&serde_json::from_str(&second.to_json().to_string()).unwrap());
        prop_assert_eq!(merged.count(), values.len() as u64);
        values.sort_unstable();
        for share in [0.001, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[((values.len() as f64 * share).ceil() as usize).max(1) - 1];
            let (found, slack) = (merged.quantile(share), exact / 500 + 1);
            prop_assert!(found >= exact && found <= exact + slack, "{share}: {found} for {exact}");
        }
        let points = merged.points();
        prop_assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        let (last, most) = (points.last().unwrap(), *values.last().unwrap());
        prop_assert!(last.0 <= values.len() as f64 && last.1 >= most && last.1 <= most + most / 500 + 1);
    }
}
