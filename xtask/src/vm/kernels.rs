//! Debian's own cloud kernels, fetched by apt with lists and caches of our own below `target/vm`: what the machine knows
//! and has installed stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{steps, workspace};

/// Where suites are: one that is no longer supported moves to the archive.
const MIRRORS: [&str; 2] = ["http://deb.debian.org", "http://archive.debian.org"];
/// The keys of all suites; every Debian has them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Depends on the suite's current kernel.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel of the matrix.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What `--kernel` calls it.
    pub(crate) name: &'static str,
    /// The suite of Debian that it comes from.
    pub(crate) suite: &'static str,
}

/// From the oldest to the newest.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye" },
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "trixie" },
    Kernel { name: "latest", suite: "sid" },
];

impl Kernel {
    /// Removes what was downloaded.
    pub(crate) fn forget(&self) -> Result<()> {
        let folder = self.folder();
        if folder.exists() { Ok(fs::remove_dir_all(folder)?) } else { Ok(()) }
    }

    fn folder(&self) -> PathBuf {
        workspace::target().join("vm/kernels").join(self.suite)
    }

    /// The kernel's image, downloaded if it is not there yet.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        let folder = self.folder();
        let image = folder.join("vmlinuz");
        if !image.exists() {
            steps::say(&format!("Fetching Debian's kernel of {}", self.suite));
            let package = self.download(&folder)?;
            // Under its name only when it is whole.
            let unpacked = unpack(&package, &folder.join("unpacked"))?;
            fs::rename(unpacked, &image)?;
        }
        Ok(image)
    }

    /// The package that has the kernel's image.
    fn download(&self, folder: &Path) -> Result<PathBuf> {
        let mut refusals = Vec::new();
        for mirror in MIRRORS {
            let apt = Apt { folder: folder.join("apt") };
            match apt.update(mirror, self.suite).and_then(|()| apt.kernel_package()) {
                Ok(package) => return apt.download(&package, folder),
                Err(error) => refusals.push(format!("{mirror}: {error:#}")),
            }
        }
        bail!("no mirror has {}: {}", self.suite, refusals.join("; "))
    }
}

/// apt with a state of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn update(&self, mirror: &str, suite: &str) -> Result<()> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        // The archive's signatures stay good although nothing is published there any more.
        let line = |area: &str, suite: &str| {
            format!("deb [arch=amd64 signed-by={KEYS} check-valid-until=no] {mirror}/{area} {suite} main\n")
        };
        let mut sources = line("debian", suite);
        if suite != "sid" {
            sources += &line("debian-security", &format!("{suite}-security"));
        }
        fs::write(self.sources(), sources)?;
        output(self.command("apt-get").args(["-o", "APT::Update::Error-Mode=any", "update"])).map(drop)
    }

    /// The name of the package with the current kernel's image.
    fn kernel_package(&self) -> Result<String> {
        let package = self.dependency(META_PACKAGE, "linux-image-")?.context("no cloud kernel")?;
        // Newer suites keep the image apart from the package that belongs to a whole installation.
        Ok(self.dependency(&package, "linux-binary-")?.unwrap_or(package))
    }

    /// The first package of this kind that another depends on.
    fn dependency(&self, package: &str, kind: &str) -> Result<Option<String>> {
        let text = output(self.command("apt-cache").args(["depends", "--important", package]))?;
        let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.find(|name| name.starts_with(kind)).map(str::to_owned))
    }

    fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let packages = || -> Result<Vec<PathBuf>> {
            let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            Ok(entries.into_iter().filter(|path| path.extension().is_some_and(|end| end == "deb")).collect())
        };
        for old in packages()? {
            fs::remove_file(old)?;
        }
        output(self.command("apt-get").args(["download", package]).current_dir(folder))?;
        packages()?.pop().with_context(|| format!("{package} was not downloaded"))
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", self.sources()),
            ("Dir::Etc::sourceparts", "-".into()),
            ("Dir::State", self.folder.join("state")),
            ("Dir::State::status", "/dev/null".into()),
            ("Dir::Cache", self.folder.join("cache")),
            // Files below target/ may be closed to apt's own user.
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command
    }
}

/// Unpacks a package and returns its kernel image.
fn unpack(package: &Path, folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(folder))?;
    for parent in ["boot", "usr/lib/modules", "lib/modules"] {
        if let Some(image) = find_image(&folder.join(parent))? {
            return Ok(image);
        }
    }
    bail!("{} has no kernel image", package.display())
}

/// `vmlinuz` or `vmlinuz-VERSION`, in the folder or in one below it.
fn find_image(folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(None) };
    for entry in entries {
        let entry = entry?;
        let is_folder = entry.file_type()?.is_dir();
        if !is_folder && entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(entry.path()));
        }
        if is_folder && entry.path().join("vmlinuz").exists() {
            return Ok(Some(entry.path().join("vmlinuz")));
        }
    }
    Ok(None)
}

/// Runs a command to its end: what it printed, or what it complained of.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} could not be started"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", complaint.trim().replace('\n', " "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
