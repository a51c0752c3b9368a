//! Sockets in a SOCKHASH: what `--propagate headers` needs, and what such sockets answer on this kernel.
//!
//! Since 6.6.128, 6.12.75, 6.18.14 and 6.19 they answer `ioctl(FIONREAD)` by 0 whatever waits to be read. Programs that size their
//! reads by it (Java's `InputStream.available()`, some proxies) stall or cut short. Versions of distributions differ, so it is tried.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    time::Duration,
};

use aya::maps::{MapData, MapError, SockHash};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_SOCKHASH;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::Timespec,
    io::ioctl_fionread,
};

/// The table of the programs' object that is one.
pub(super) const TABLE: &str = "CLIENT_SOCKETS";

/// What [`tells_what_waits`] found, and what to do.
pub const BROKEN: &str = "with `--propagate headers`, sockets would say that nothing waits to be read (ioctl FIONREAD gives 0): a defect of this kernel";
/// The same.
pub const REMEDY: &str = "use `--propagate tcp`, or `--propagate headers=force` where no program asks";

/// How long bytes may take over the loopback interface.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why it is not known what sockets answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No SOCKHASH, or not this socket.
    #[error("a socket cannot be put into a SOCKHASH: {0}")]
    Map(#[from] MapError),
    /// No connection.
    #[error("a connection over the loopback interface fails: {0}")]
    Connection(#[from] io::Error),
}

/// Whether a socket in a SOCKHASH still tells how many bytes it has (`FIONREAD`). Tried on a connection of the agent's own.
///
/// # Errors
/// It could not be tried.
pub fn tells_what_waits() -> Result<bool, ProbeError> {
    let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_SOCKHASH as u32, 8, 4, 1, 0);
    let mut sockets: SockHash<MapData, u64> =
        aya::maps::Map::from_map_data(MapData::create(definition, "probe", None)?)?.try_into()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    sockets.insert(0, client.as_fd(), 0)?;
    server.write_all(b"what waits")?;
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    poll(&mut [PollFd::new(&client, PollFlags::IN)], Some(&patience)).map_err(io::Error::from)?;
    Ok(ioctl_fionread(&client).map_err(io::Error::from)? == 10)
}

/// The object with [`TABLE`] as a SOCKHASH. In the object it is a plain hash, which everybody may make who may load programs: all tables
/// of an object are made, and this one takes `CAP_NET_ADMIN`.
///
/// `None`: the object is not as it was built.
pub(super) fn with_sockhash(programs: &[u8]) -> Option<Vec<u8>> {
    let file = object::File::parse(programs).ok()?;
    let table = file.symbols().find(|symbol| symbol.name() == Ok(TABLE))?;
    let section = file.section_by_index(table.section_index()?).ok()?;
    let (start, _) = section.file_range()?;
    let at = usize::try_from(start.checked_add(table.address().checked_sub(section.address())?)?).ok()?;
    let mut changed = programs.to_vec();
    // `struct bpf_map_def` begins with the type.
    let kind: &mut [u8; 4] = changed.get_mut(at..)?.first_chunk_mut()?;
    *kind = (BPF_MAP_TYPE_SOCKHASH as u32).to_ne_bytes();
    Some(changed)
}
