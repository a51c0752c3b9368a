//! Spans leave the process: OTLP, terminal, OTLP JSON lines.
