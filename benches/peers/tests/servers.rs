//! The servers' benchmark at a tiny load: every server gets every kind of work done, to the byte.

use std::path::Path;
use std::process::Command;

/// tautline is left out only where its example `echo` does not exist; one that does not build fails this.
#[test]
fn every_server_does_its_work() {
    let output = Command::new(env!("CARGO_BIN_EXE_servers")).arg("--verify").output().unwrap();
    let (told, faults) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{faults}");
    let mut servers = vec![
        "bare: 6",
        "fastwebsockets: 4",
        "tokio-websockets: 5",
        "axum: 1",
        "yawc: 2",
        "bare-level: 3",
        "bare-eager: 1",
        "bare-deferred: 1",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    if root.join("echo.rs").exists() || root.join("echo").exists() {
        servers.extend(["tautline: 8", "tautline-again: 2"]);
    }
    for server in servers {
        assert!(told.contains(server), "{server} cells? {told}");
    }
}

/// The load notices a server that does not speak the protocol: a mistake there would pass for speed.
#[test]
fn a_server_that_only_repeats_bytes_is_no_websocket_server() {
    let output = Command::new(env!("CARGO_BIN_EXE_servers"))
        .args(["--verify", "--servers", "tautline", "--tautline", env!("CARGO_BIN_EXE_bare"), "echo"])
        .output()
        .unwrap();
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && faults.contains("tautline in echo"), "{faults}");
}
