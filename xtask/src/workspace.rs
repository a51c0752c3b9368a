//! Where things are in the workspace.

use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    // The manifest folder is `<root>/xtask`, so it always has a parent.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `target/`: everything that is built or installed goes there and nowhere else.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Build tools of this workspace (`cargo install --root`, a Python venv).
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The installed test applications: `node_modules` and a Python venv.
pub(crate) fn apps() -> PathBuf {
    target().join("apps")
}

/// The release agent.
pub(crate) fn agent() -> PathBuf {
    target().join("release/syspan")
}
