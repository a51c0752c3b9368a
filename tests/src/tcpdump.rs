//! A packet capture of the loopback traffic of some ports, by tcpdump.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;
use tempfile::TempDir;

use crate::{server::Server, wait};

/// What is sent, over UDP, after everything else: once it is in the file, so is the rest.
const LAST: &[u8] = b"the last packet of this capture";

/// A running tcpdump.
#[derive(Debug)]
pub struct Tcpdump {
    server: Server,
    folder: TempDir,
    last: UdpSocket,
}

/// A file that is complete.
#[derive(Debug)]
pub struct Capture {
    folder: TempDir,
}

impl Tcpdump {
    /// Captures what goes to and from these ports, with further arguments; returns once it does.
    pub fn start(ports: &[u16], arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("tcpdump-")?;
        let last = UdpSocket::bind(("127.0.0.1", 0))?;
        last.connect(last.local_addr()?)?;
        let mut filter = format!("udp port {}", last.local_addr()?.port());
        for port in ports {
            filter += &format!(" or tcp port {port}");
        }
        let server = writing(&file(folder.path()), arguments, &filter)?;
        Ok(Self { server, folder, last })
    }

    /// Ends the capture after what was sent so far; demands that nothing is missing in it.
    pub fn stop(self) -> Result<Capture> {
        let Self { server, folder, last } = self;
        let capture = Capture { folder };
        wait::until("the capture", wait::START, || {
            last.send(LAST)?;
            Ok(memmem::find(&fs::read(capture.file())?, LAST))
        })?;
        server.stop()?;
        let messages = fs::read_to_string(capture.folder.path().join("tcpdump.log"))?;
        ensure!(messages.contains("\n0 packets dropped by kernel"), "tcpdump: {messages}");
        Ok(capture)
    }
}

impl Capture {
    /// The pcap file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        file(self.folder.path())
    }

    /// The file as `editcap` changes it with these options.
    pub fn edited(&self, name: &str, options: &[&str]) -> Result<PathBuf> {
        let edited = self.folder.path().join(name);
        let output = Command::new("editcap").args(options).arg(self.file()).arg(&edited).output()?;
        ensure!(output.status.success(), "editcap: {}", String::from_utf8_lossy(&output.stderr));
        Ok(edited)
    }
}

/// A tcpdump that captures what passes the filter to a file, with further arguments; it does when this returns. Its messages are beside
/// the file, in `tcpdump.log`.
pub fn writing(file: &Path, arguments: &[&str], filter: &str) -> Result<Server> {
    let mut command = Command::new("tcpdump");
    // It stays root, which owns the folder, and writes each packet when the kernel hands it over.
    command.args(["-Z", "root", "--packet-buffered", "--buffer-size=65536", "-w"]);
    command.arg(file).args(arguments).arg(filter);
    let folder = file.parent().context("a file in a folder")?;
    let mut tcpdump = Server::start("tcpdump", folder, &command)?;
    tcpdump.wait_for("listening on")?;
    Ok(tcpdump)
}

fn file(folder: &Path) -> PathBuf {
    folder.join("capture.pcap")
}
