//! A connection to PostgreSQL by plain blocking calls (protocol 3.0, simple queries): no library, so that every machine
//! sees the same system calls.

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

/// Protocol version 3.0, the first field of the start-up message (PostgreSQL manual, "Message Formats").
const VERSION: u32 = 3 << 16;

/// A session as user and database `postgres`, which the server trusts.
pub(crate) struct Session<S> {
    stream: BufReader<S>,
}

impl Session<TcpStream> {
    /// Over TCP, to a port of 127.0.0.1.
    pub(crate) fn over_tcp(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Self::start(stream)
    }
}

impl Session<UnixStream> {
    /// Over a Unix socket.
    pub(crate) fn over_unix(path: &Path) -> Result<Self> {
        Self::start(UnixStream::connect(path).with_context(|| path.display().to_string())?)
    }
}

impl<S: Read + Write> Session<S> {
    fn start(stream: S) -> Result<Self> {
        let mut session = Self { stream: BufReader::new(stream) };
        let mut body = VERSION.to_be_bytes().to_vec();
        body.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
        session.send(None, &body)?;
        session.until_ready()?;
        Ok(session)
    }

    /// Runs one statement and reads all of its answer.
    pub(crate) fn query(&mut self, statement: &str) -> Result<()> {
        self.send(Some(b'Q'), &[statement.as_bytes(), b"\0"].concat())?;
        self.until_ready()
    }

    /// One message in one call; the start-up message has no type.
    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 4)?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        Ok(self.stream.get_mut().write_all(&message)?)
    }

    fn until_ready(&mut self) -> Result<()> {
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            let [kind, length @ ..] = head;
            let length = u32::from_be_bytes(length).checked_sub(4).context("a message without a length")?;
            let mut body = vec![0; usize::try_from(length)?];
            self.stream.read_exact(&mut body)?;
            match kind {
                b'Z' => return Ok(()),
                b'E' => bail!("PostgreSQL: {}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }
}
