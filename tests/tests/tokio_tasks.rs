//! Which task of Tokio did what, as it is recorded, against what Tokio says of itself: the server is this very process.

#![allow(clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};
use syspan_tests::{
    http::Load,
    recording::{Recorder, Recording, bytes},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task,
};

const REQUESTS: usize = 200;
/// More than there are threads: tasks take turns on them.
const CONNECTIONS: usize = 16;

/// Answers requests with the id of the task that writes the answer. In between it lets others go first, perhaps on another thread.
async fn serve(mut connection: TcpStream) -> Result<()> {
    let mut request = Vec::new();
    while connection.read_buf(&mut request).await? > 0 {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            task::yield_now().await;
            let body = format!("task={}\n", task::id());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            connection.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener) -> Result<()> {
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(serve(connection));
    }
}

/// What this process did while it served requests on these threads.
fn recorded(runtime: &Runtime) -> Result<Recording> {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let port = listener.local_addr()?.port();
    let recorder = Recorder::start(&["--pid", &std::process::id().to_string()])?;
    let server = runtime.spawn(accept(listener));
    let load = move || Load::connect(port, CONNECTIONS)?.run(REQUESTS, |_| "/".to_owned());
    // On a thread of its own, which polls no task; the server may need this one.
    runtime.block_on(async {
        let (done, is_done) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || done.send(load().map(drop)));
        is_done.await?
    })?;
    server.abort();
    recorder.stop()
}

fn compare(recording: &Recording) -> Result<()> {
    let (mut compared, mut others, mut tasks) = (0, 0, BTreeSet::new());
    for event in recording.of_kind("data").filter(|event| event["direction"] == "write") {
        let found = event.pointer("/task/coroutine").unwrap_or(&Value::Null);
        let text = bytes(event)?;
        if let Some((_, id)) = text.split_once("task=") {
            let id: u64 = id.trim().parse()?;
            assert_eq!(*found, json!({ "task": id }), "{event}");
            compared += 1;
            tasks.insert(id);
        } else if text.starts_with("GET /") {
            assert_eq!(*found, Value::Null, "a thread that polls no task: {event}");
            others += 1;
        }
    }
    assert_eq!((compared, others, tasks.len()), (REQUESTS, REQUESTS, CONNECTIONS));
    Ok(())
}

/// One test, so that nobody else's requests are in the recording.
#[test]
fn tasks_are_told_by_their_ids() -> Result<()> {
    compare(&recorded(&Builder::new_multi_thread().worker_threads(2).enable_io().build()?)?)?;
    compare(&recorded(&Builder::new_current_thread().enable_io().build()?)?)
}
