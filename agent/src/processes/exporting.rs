//! Whether a process seems to export spans of its own, by what can be known without looking at its traffic.

use super::proc::Proc;
use crate::event::Pid;

/// Variables that tell an SDK where to export spans to
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The ports that OTLP has by gRPC and by HTTP.
const PORTS: [u16; 2] = [4317, 4318];

/// Why it seems so, in words; `None` if it does not.
#[must_use]
pub fn sign(proc: &Proc, pid: Pid) -> Option<String> {
    let environment = proc.environment(pid).unwrap_or_default();
    let value = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    if let Some(exporters) = value("OTEL_TRACES_EXPORTER") {
        return exporters.contains("otlp").then(|| format!("OTEL_TRACES_EXPORTER={exporters}"));
    }
    if let Some(name) = ENDPOINTS.into_iter().find(|name| value(name).is_some_and(|value| !value.is_empty())) {
        return Some(format!("{name} is set"));
    }
    let own = proc.sockets(pid);
    let connections = proc.connections(pid, &PORTS);
    let (_, port) = connections.into_iter().find(|(inode, _)| own.contains(inode))?;
    Some(format!("it has a connection to port {port}"))
}

#[cfg(test)]
mod tests {
    use super::sign;
    use crate::processes::fake::Fake;

    #[test]
    fn an_environment_or_a_connection_says_so() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        for (environment, expected) in [
            (&[("PATH", "/bin")][..], None),
            (&[("OTEL_TRACES_EXPORTER", "console,otlp")], Some("OTEL_TRACES_EXPORTER=console,otlp")),
            (&[("OTEL_TRACES_EXPORTER", "none"), ENDPOINT], None),
            (&[ENDPOINT], Some("OTEL_EXPORTER_OTLP_ENDPOINT is set")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], None),
        ] {
            let fake = Fake::new();
            fake.process(7, "/usr/bin/node", &["node"]);
            fake.environment(7, environment);
            assert_eq!(sign(&fake.proc(), 7).as_deref(), expected, "{environment:?}");
        }
        let fake = Fake::new();
        fake.process(7, "/usr/bin/node", &["node"]);
        fake.link("7/fd/3", "socket:[55]");
        let line = |inode, port: u16| format!("   0: 0100007F:1234 0100007F:{port:04X} 01 0 0 0 0 0 {inode}\n");
        fake.write("7/net/tcp", format!("head\n{}{}", line(54, 4317), line(55, 80)).as_bytes());
        assert_eq!(sign(&fake.proc(), 7), None, "of another process, or to another port");
        fake.write("7/net/tcp", format!("head\n{}{}", line(54, 80), line(55, 4318)).as_bytes());
        assert_eq!(sign(&fake.proc(), 7).as_deref(), Some("it has a connection to port 4318"));
    }
}
