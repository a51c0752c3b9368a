"""Takes OTLP traces and metrics on PORT of 127.0.0.1 by PROTOCOL (grpc or http/protobuf), decoded by the official Protobuf package.

Prints a JSON line for each request: its signal, whether its body was gzip, its headers, and the message with ids in
hexadecimal, as OTLP/JSON has them. The first request that holds spans is answered with a partial success: one span is rejected.
"""

import base64
import gzip
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

SIGNALS = {
    "traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}
PATHS = {f"/v1/{signal}": signal for signal in SIGNALS}
SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
GZIP_MAGIC = b"\x1f\x8b"
lock = threading.Lock()
rejected = False


def take(signal, body, headers):
    global rejected
    request, response = SIGNALS[signal]
    compressed = body.startswith(GZIP_MAGIC)
    decoded = request.FromString(gzip.decompress(body) if compressed else body)
    message = MessageToDict(decoded, use_integers_for_enums=True)
    for span in spans(message):
        for ids in [span, *span.get("links", [])]:
            for key in {"traceId", "spanId", "parentSpanId"} & ids.keys():
                ids[key] = base64.b64decode(ids[key]).hex()
    answer = response()
    with lock:
        if not rejected and spans(message):
            rejected = True
            answer.partial_success.rejected_spans = 1
            answer.partial_success.error_message = "one span too many"
        sys.stdout.write(json.dumps({"signal": signal, "gzip": compressed, "headers": headers, "message": message}) + "\n")
        sys.stdout.flush()
    return answer.SerializeToString()


def spans(message):
    scopes = [scope for resource in message.get("resourceSpans", []) for scope in resource["scopeSpans"]]
    return [span for scope in scopes for span in scope["spans"]]


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = self.headers["Content-Length"]
        body = self.rfile.read(int(length)) if length else b"".join(self.chunks())
        known = self.path in PATHS and self.headers["Content-Type"] == "application/x-protobuf"
        declared = self.headers.get("Content-Encoding") == "gzip"
        if not known or declared != body.startswith(GZIP_MAGIC):
            return self.send_error(400)
        answer = take(PATHS[self.path], body, {name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def chunks(self):
        while length := int(self.rfile.readline(), 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_):
        pass


def serve_grpc(address):
    def handler(signal):
        def export(body, context):
            metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
            return take(signal, body, metadata)

        return grpc.unary_unary_rpc_method_handler(export)  # no deserializer: the bytes as they are

    # gRPC would decompress messages and hide that they were compressed.
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.per_message_decompression", 0)])
    for signal, service in SERVICES.items():
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Export": handler(signal)})])
    server.add_insecure_port("%s:%d" % address)
    server.start()
    server.wait_for_termination()


def main():
    address = ("127.0.0.1", int(os.environ["PORT"]))
    if os.environ["PROTOCOL"] == "grpc":
        serve_grpc(address)
    else:
        ThreadingHTTPServer(address, Http).serve_forever()


main()
