//! What must not go wrong when something else does.

#![allow(clippy::panic, reason = "tests")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use anyhow::Result;
use syspan_tests::{
    apps::App,
    causes::{differences, requests},
    http::{Client, Load},
    syspan::{self, Syspan},
};
use tempfile::TempDir;

#[test]
fn garbage_on_a_followed_socket() -> Result<()> {
    let app = App::orders(&[])?;
    let syspan = Syspan::run(&[app.pid()], &[])?;
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let beginnings: [&[u8]; 6] = [
        b"",
        b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for beginning in beginnings {
        let mut client = Client::connect(app.port())?;
        // The application may close the connection before it has taken everything.
        let _ = client.send(beginning).and_then(|()| client.send(&binary)).and_then(|()| client.finish());
        while client.receive().is_ok() {}
    }
    let mut load = Load::connect(app.port(), 4)?;
    load.run(50, |number| format!("/hello?id={number}"))?;
    let outcome = syspan.stop()?;
    assert!(!outcome.messages.contains("panicked"), "{}", outcome.messages);
    let mut requests = requests(&outcome.spans);
    requests.retain(|target, _| target.starts_with("/hello?id="));
    let expected = (0..50).map(|number| (format!("/hello?id={number}"), 1)).collect();
    assert_eq!(differences(&requests, &expected), [""; 0]);
    Ok(())
}

/// Asserts how a refused run ends: the status, and one message line that contains all these words.
fn assert_refused(output: &std::process::Output, status: i32, words: &[&str]) {
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{messages}");
    assert!(
        messages.lines().any(|line| words.iter().all(|word| line.contains(word))),
        "no line with {words:?} in:\n{messages}"
    );
    assert!(!messages.contains("panicked"), "{messages}");
}

#[test]
fn a_process_that_does_not_exist() -> Result<()> {
    // Above the largest pid that any kernel gives (PID_MAX_LIMIT is 2^22).
    assert_refused(&syspan::output(&["run", "--pid", "4194305"])?, 1, &["4194305"]);
    Ok(())
}

#[test]
fn wrong_usage() -> Result<()> {
    assert_refused(&syspan::output(&["run", "--no-such-option"])?, 2, &["--no-such-option"]);
    Ok(())
}

#[test]
fn without_privileges() -> Result<()> {
    // The build folder may be closed to other users.
    let folder = TempDir::with_prefix("unprivileged-")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let program = folder.path().join("syspan");
    fs::copy(syspan::program(), &program)?;
    let output = Command::new("setpriv")
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "timeout", "30"])
        .arg(&program)
        .args(["run", "--all"])
        .current_dir("/")
        .output()?;
    assert_refused(&output, 1, &["root"]);
    Ok(())
}
