"""One trace from the caller through the gateway to the model's steps, at a collector that is really there."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from PIL import Image

from tests.servers import MODEL_SETS, Server

pytestmark = pytest.mark.system

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector:
    """Keeps the spans that it is sent, with the service that each is from."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                for group in request.resource_spans:
                    (service,) = [
                        attribute.value.string_value
                        for attribute in group.resource.attributes
                        if attribute.key == "service.name"
                    ]
                    collector.spans += [(service, span) for scope in group.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def of_trace(self, trace: str) -> dict[tuple[str, str], Span]:
        return {(service, span.name): span for service, span in self.spans if span.trace_id.hex() == trace}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.thread.start()
    yield collector
    collector.http.shutdown()
    collector.thread.join()
    collector.http.server_close()


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log: Path = tmp_path_factory.mktemp("traced") / "log"
    environment = {"PIXANO_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Server(MODEL_SETS / "one_disk.py", log, environment=environment) as server:
        yield server


def test_a_request_is_one_trace_from_the_caller_to_the_model(traced: Server, collector: Collector) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    image = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    response = httpx.post(
        f"{traced.url}/inference/segmentation/",
        json={"model": "disk", "image": image},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "traced"},
        timeout=20,
    )
    assert response.status_code == 200
    give_up = time.monotonic() + 15
    while len(collector.of_trace(TRACE)) < 5 and time.monotonic() < give_up:
        time.sleep(0.05)
    spans = collector.of_trace(TRACE)
    gateway = spans["pixano-inference-gateway", "POST /inference/segmentation/"]
    runner = spans["pixano-inference-disk", "runner/predict"]
    assert gateway.parent_span_id.hex() == CALLER
    assert runner.parent_span_id == gateway.span_id
    attributes = {item.key: item.value for item in gateway.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["pixano.model"].string_value == "disk"
    assert attributes["pixano.request_id"].string_value == "traced"
    for step in ("queue", "model", "postprocess"):
        span = spans["pixano-inference-disk", step]
        assert span.parent_span_id == runner.span_id
        assert runner.start_time_unix_nano - 5_000_000 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= runner.end_time_unix_nano + 5_000_000


def test_a_collector_that_is_away_costs_no_request(traced: Server, collector: Collector) -> None:
    collector.http.shutdown()
    collector.http.server_close()
    for _ in range(5):
        assert httpx.get(f"{traced.url}/health", timeout=5).status_code == 200
