//! syspan's own metrics in OTLP's terms: under the names of the OpenTelemetry conventions for SDKs where there are such
//! (<https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/>), else under `syspan.*`.
//!
//! All are cumulative sums since the start of the run. They add up: `otel.sdk.span.started` is `otel.sdk.span.live` and all
//! of `syspan.requests`; `otel.sdk.processor.span.processed` and `….queue.size` are the spans among those; what was processed
//! without an error is `otel.sdk.exporter.span.exported` and `….inflight`.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
        number_data_point,
    },
};
use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute, metric as name};

use super::{
    otlp::Protocol,
    proto::{key_value, resource, scope},
    report::{ExportReport, Pending},
};
use crate::{
    accounts::{Accounts, Requests},
    processes::Process,
    streams::Loss,
    traces::span::Value,
};

/// Events that were told, by kind.
const EVENTS: &str = "syspan.events";
const EVENT_KIND: &str = "syspan.event.kind";
/// Requests that ended, by what became of them.
const REQUESTS: &str = "syspan.requests";
const REQUEST_OUTCOME: &str = "syspan.request.outcome";
/// What is missing, by cause; docs/losses.md says what one is of each.
const LOSSES: &str = "syspan.losses";
const LOSS_CAUSE: &str = "syspan.loss.cause";

/// `otel.component.type` of the queue before the exporter.
const PROCESSOR: &str = "batching_span_processor";
/// `error.type` of spans that were not sent before the run ended.
const SHUT_DOWN: &str = "already_shutdown";
/// Every span is recorded and exported.
const SAMPLED: (&str, &str) = ("otel.span.sampling_result", "RECORD_AND_SAMPLE");

/// What there is to tell at a moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What was seen and what became of it.
    pub accounts: Accounts,
    /// What became of the spans, where they are exported by OTLP.
    pub spans: Option<SpanExport>,
}

/// The state of the exporter of spans.
#[derive(Debug, Clone)]
pub struct SpanExport {
    /// How it exports.
    pub protocol: Protocol,
    /// Where to: host and port.
    pub server: (String, Option<u16>),
    /// Spans that it is done with.
    pub report: ExportReport,
    /// Spans that it is not done with.
    pub pending: Pending,
}

/// The times of an export, ns since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    /// Since when is counted.
    pub(super) start: u64,
    /// Up to when.
    pub(super) now: u64,
}

/// The message of one export. `ExportMetricsServiceRequest` is the same on the wire.
pub(super) fn message(snapshot: &Snapshot, syspan: &Process, period: Period) -> MetricsData {
    let mut metrics = of_engine(&snapshot.accounts, period);
    metrics.extend(snapshot.spans.iter().flat_map(|spans| of_export(spans, period)));
    let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA_URL.to_owned() };
    MetricsData {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(syspan)),
            scope_metrics: vec![scope_metrics],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

fn of_engine(Accounts { events, requests, losses }: &Accounts, period: Period) -> Vec<Metric> {
    let &Requests { opened, spans, not_executed, left, open } = requests;
    let unfinished = losses.get(Loss::Unfinished);
    let outcomes = [("span", spans), ("not_executed", not_executed), ("left_to_sdk", left), ("unfinished", unfinished)];
    let sum = |instrument, points: Vec<Point>| instrument_sum(instrument, points, period);
    vec![
        sum(
            counter(EVENTS, "{event}", "Events that the kernel told."),
            events.by_kind().map(|(kind, count)| point(count, &[(EVENT_KIND, kind.into())])).into(),
        ),
        sum(
            counter(REQUESTS, "{request}", "Recognised requests that are over."),
            outcomes.map(|(outcome, count)| point(count, &[(REQUEST_OUTCOME, outcome.into())])).into(),
        ),
        sum(
            counter(LOSSES, "{loss}", "What was not captured or was lost."),
            Loss::ALL.iter().map(|&loss| point(losses.get(loss), &[(LOSS_CAUSE, loss.name().into())])).collect(),
        ),
        sum(
            counter(name::OTEL_SDK_SPAN_STARTED, "{span}", "Requests that were recognised."),
            vec![point(opened, &[(SAMPLED.0, SAMPLED.1.into())])],
        ),
        sum(
            level(name::OTEL_SDK_SPAN_LIVE, "{span}", "Recognised requests that are under way."),
            vec![point(open, &[(SAMPLED.0, SAMPLED.1.into())])],
        ),
    ]
}

fn of_export(export: &SpanExport, period: Period) -> Vec<Metric> {
    let ExportReport { exported, rejected, failed, unsent, queue_full } = export.report;
    let Pending { waiting, in_flight, capacity } = export.pending;
    let not_delivered = failed.saturating_sub(unsent);
    let exporter = match export.protocol {
        Protocol::Grpc => "otlp_grpc_span_exporter",
        Protocol::HttpProtobuf => "otlp_http_span_exporter",
    };
    let component = |kind: &'static str| {
        [(attribute::OTEL_COMPONENT_TYPE, kind.into()), (attribute::OTEL_COMPONENT_NAME, format!("{kind}/0").into())]
    };
    let processor = component(PROCESSOR).to_vec();
    let mut of_exporter: Vec<(&str, Value)> = component(exporter).to_vec();
    let (address, port) = &export.server;
    of_exporter.push((attribute::SERVER_ADDRESS, address.clone().into()));
    of_exporter.extend(port.map(|port| (attribute::SERVER_PORT, i64::from(port).into())));
    let outcome = |base: &[(&'static str, Value)], error: Option<&'static str>, count| {
        let mut attributes = base.to_vec();
        attributes.extend(error.map(|error| (attribute::ERROR_TYPE, error.into())));
        point(count, &attributes)
    };
    let sum = |instrument, points: Vec<Point>| instrument_sum(instrument, points, period);
    vec![
        sum(
            counter(name::OTEL_SDK_PROCESSOR_SPAN_PROCESSED, "{span}", "Spans that left the queue, or found no room."),
            vec![
                outcome(&processor, None, exported + rejected + not_delivered + in_flight),
                outcome(&processor, Some(Loss::QueueFull.name()), queue_full),
                outcome(&processor, Some(SHUT_DOWN), unsent),
            ],
        ),
        sum(
            level(name::OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE, "{span}", "Spans in the queue."),
            vec![point(waiting, &processor)],
        ),
        sum(
            level(name::OTEL_SDK_PROCESSOR_SPAN_QUEUE_CAPACITY, "{span}", "Most spans in the queue."),
            vec![point(capacity, &processor)],
        ),
        sum(
            counter(name::OTEL_SDK_EXPORTER_SPAN_EXPORTED, "{span}", "Spans whose export is over."),
            vec![
                outcome(&of_exporter, None, exported),
                outcome(&of_exporter, Some(Loss::Rejected.name()), rejected),
                outcome(&of_exporter, Some(Loss::ExportFailed.name()), not_delivered),
            ],
        ),
        sum(
            level(name::OTEL_SDK_EXPORTER_SPAN_INFLIGHT, "{span}", "Spans in the request under way."),
            vec![point(in_flight, &of_exporter)],
        ),
    ]
}

/// A value and its attributes.
type Point = (u64, Vec<KeyValue>);

fn point(count: u64, attributes: &[(&'static str, Value)]) -> Point {
    (count, attributes.iter().map(|(key, value)| key_value(key, value)).collect())
}

/// What is measured, before its points are known.
struct Instrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    is_monotonic: bool,
}

/// An instrument that only grows.
fn counter(name: &'static str, unit: &'static str, description: &'static str) -> Instrument {
    Instrument { name, unit, description, is_monotonic: true }
}

/// An instrument that goes up and down.
fn level(name: &'static str, unit: &'static str, description: &'static str) -> Instrument {
    Instrument { is_monotonic: false, ..counter(name, unit, description) }
}

fn instrument_sum(instrument: Instrument, points: Vec<Point>, Period { start, now }: Period) -> Metric {
    let Instrument { name, unit, description, is_monotonic } = instrument;
    let data_points = points.into_iter().map(|(count, attributes)| NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    });
    let sum = Sum {
        data_points: data_points.collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic,
    };
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(metric::Data::Sum(sum)),
        ..Metric::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::collections::BTreeMap;

    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;
    use crate::{accounts::Events, export::samples, streams::Losses};

    /// Each point by the metric's name and its last attribute that is no name of a component, if it has one.
    fn values(message: &MetricsData) -> BTreeMap<String, i64> {
        let mut values = BTreeMap::new();
        for metric in &message.resource_metrics[0].scope_metrics[0].metrics {
            let Some(metric::Data::Sum(sum)) = &metric.data else { continue };
            for point in &sum.data_points {
                let which = point.attributes.iter().rfind(|attribute| {
                    ["error.type", EVENT_KIND, REQUEST_OUTCOME, LOSS_CAUSE].contains(&attribute.key.as_str())
                });
                let which = which.and_then(|attribute| match attribute.value.as_ref()?.value.as_ref()? {
                    any_value::Value::StringValue(text) => Some(format!(" {text}")),
                    _ => None,
                });
                let Some(number_data_point::Value::AsInt(value)) = point.value else { continue };
                assert!((point.start_time_unix_nano, point.time_unix_nano) == (5, 9));
                let key = format!("{}{}", metric.name, which.unwrap_or_default());
                assert_eq!(values.insert(key, value), None, "{} twice", metric.name);
            }
        }
        values
    }

    fn snapshot() -> Snapshot {
        let mut losses = Losses::default();
        losses.add(Loss::Unfinished, 3);
        losses.add(Loss::RingFull, 8);
        let requests = Requests { opened: 120, spans: 100, not_executed: 2, left: 0, open: 15 };
        let accounts = Accounts { events: Events { data: 240, ..Events::default() }, requests, losses };
        let report = ExportReport { exported: 50, rejected: 4, failed: 16, unsent: 9, queue_full: 10 };
        let pending = Pending { waiting: 12, in_flight: 8, capacity: 64 };
        let server = ("collector".to_owned(), Some(4318));
        let spans = Some(SpanExport { protocol: Protocol::HttpProtobuf, server, report, pending });
        Snapshot { accounts, spans }
    }

    #[test]
    fn the_sums_come_out_even() {
        let message = message(&snapshot(), &samples::process("syspan", 1), Period { start: 5, now: 9 });
        let values = values(&message);
        let value = |name: &str| *values.get(name).unwrap_or(&i64::MIN);
        let all =
            |name: &str| values.iter().filter(|(key, _)| key.starts_with(name)).map(|(_, value)| value).sum::<i64>();
        assert_eq!(value("otel.sdk.span.started"), value("otel.sdk.span.live") + all("syspan.requests"));
        let processed = "otel.sdk.processor.span.processed";
        assert_eq!(value("syspan.requests span"), all(processed) + value("otel.sdk.processor.span.queue.size"));
        assert_eq!(value(processed), all("otel.sdk.exporter.span.exported") + value("otel.sdk.exporter.span.inflight"));
        assert_eq!(value("otel.sdk.processor.span.processed queue_full"), 10);
        assert_eq!(value("otel.sdk.exporter.span.exported rejected"), 4);
        assert_eq!((value("syspan.events data"), value("syspan.losses ring_full")), (240, 8));
        assert_eq!(value("syspan.losses tls"), 0, "a cause is there before it happens");
    }

    #[test]
    fn only_what_grows_is_monotonic() {
        let message = message(&snapshot(), &samples::process("syspan", 1), Period { start: 5, now: 9 });
        let levels = message.resource_metrics[0].scope_metrics[0].metrics.iter().filter(|metric| {
            matches!(&metric.data, Some(metric::Data::Sum(sum)) if !sum.is_monotonic && sum.aggregation_temporality == 2)
        });
        let names: Vec<_> = levels.map(|metric| metric.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "otel.sdk.span.live",
                "otel.sdk.processor.span.queue.size",
                "otel.sdk.processor.span.queue.capacity",
                "otel.sdk.exporter.span.inflight"
            ]
        );
    }

    #[test]
    fn without_a_collector_for_spans_there_is_nothing_of_it() {
        let message = message(&Snapshot::default(), &samples::process("syspan", 1), Period { start: 5, now: 9 });
        assert!(!values(&message).keys().any(|name| name.contains("exporter") || name.contains("processor")));
    }
}
