"""The synchronous client: the same methods without ``await``."""

from __future__ import annotations

import time
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import PrivateAttr

from pixano_inference.schemas import (
    Capability,
    DetectionRequest,
    DetectionResponse,
    FrameMasks,
    ModelInfo,
    SegmentationRequest,
    SegmentationResponse,
    Settings,
    TrackingJob,
    TrackingRequest,
    TrackingResponse,
    VLMRequest,
    VLMResponse,
)

from . import operations
from .base import DEFAULT_TIMEOUT, ClientBase, Progress, progress_reporter, request_arguments
from .operations import Call, Operation, Pause
from .streams import Stream, frame_of, text_of

T = TypeVar("T")


class SyncPixanoInferenceClient(ClientBase):
    """Talks to a server, without ``await``; the twin of :class:`~pixano_inference.client.PixanoInferenceClient`.

    Make it with :meth:`connect`. The server's settings are its attributes: ``client.models``, ``client.num_gpus``, ...
    Connections are pooled, and closed at the end of a ``with`` block or by :meth:`close`. Threads may share a client.

    Every method raises :class:`~pixano_inference.client.RequestFailed`, a ``fastapi.HTTPException``, when the server
    answers with an error, and an ``httpx.TransportError`` when it cannot be reached.
    """

    _http: httpx.Client | None = PrivateAttr(default=None)
    _lock: Lock = PrivateAttr(default_factory=Lock)

    @classmethod
    def connect(
        cls, url: str, *, api_key: str | None = None, timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT
    ) -> Self:
        """Read the settings of the server and return a client that carries them.

        Args:
            url: Base URL, for instance ``http://127.0.0.1:7463``.
            api_key: Key to send, where the server wants one.
            timeout: Seconds for each step of a request, or null for no limit.

        Raises:
            ValueError: ``url`` is no http or https URL.
        """
        client = cls(url=url, api_key=api_key, timeout=timeout)
        try:
            settings = client.get_settings()
        except BaseException:  # whatever it was, the connections are not left open
            client.close()
            raise
        for name, value in settings:
            setattr(client, name, value)
        return client

    def segmentation(self, request: SegmentationRequest) -> SegmentationResponse:
        """Turn prompts on an image into masks."""
        return self._run(operations.infer(Capability.SEGMENTATION, request, SegmentationResponse, self._known_images))

    def detection(self, request: DetectionRequest) -> DetectionResponse:
        """Find things in an image by name."""
        return self._run(operations.infer(Capability.DETECTION, request, DetectionResponse, self._known_images))

    def tracking(self, request: TrackingRequest) -> TrackingResponse:
        """Follow objects through a video, and wait for the whole of it."""
        return self._run(operations.infer(Capability.TRACKING, request, TrackingResponse, self._known_images))

    def vlm(self, request: VLMRequest) -> VLMResponse:
        """Ask a question about images."""
        return self._run(operations.infer(Capability.VLM, request, VLMResponse, self._known_images))

    def stream_tracking(self, request: TrackingRequest) -> Stream[FrameMasks]:
        """Follow objects through a video; iterate over the masks of each frame as soon as they exist."""
        return Stream(
            lambda: self._run(operations.open_stream(Capability.TRACKING, request, self._known_images)), frame_of
        )

    def stream_vlm(self, request: VLMRequest) -> Stream[str]:
        """Ask a question about images; iterate over pieces of the text. ``end.data`` has the whole output."""
        return Stream(lambda: self._run(operations.open_stream(Capability.VLM, request, self._known_images)), text_of)

    def submit_tracking(self, request: TrackingRequest) -> TrackingJob:
        """Hand in a tracking job, and do not wait for it."""
        return self._run(operations.submit_tracking(request))

    def tracking_job(self, job_id: str) -> TrackingJob:
        """Read the state of a tracking job, and its output once it has completed."""
        return self._run(operations.tracking_job(job_id))

    def cancel_tracking(self, job_id: str) -> TrackingJob:
        """Cancel a tracking job; the model stops within one frame."""
        return self._run(operations.cancel_tracking(job_id))

    def wait_tracking(
        self, job_id: str, *, poll_s: float = 1.0, timeout_s: float | None = None, progress: Progress = False
    ) -> TrackingJob:
        """Wait until a tracking job has completed.

        Args:
            job_id: From :meth:`submit_tracking`.
            poll_s: Most seconds between two looks at the job.
            timeout_s: Most seconds to wait; null waits for as long as it takes.
            progress: Called with frames done and frames in all after each look; or true, to draw a bar with tqdm where
                it is installed.

        Raises:
            RequestFailed: The job failed (500) or was canceled (409), or the server does not know it (404).
            TimeoutError: The job has not ended after ``timeout_s``; it goes on.
        """
        with progress_reporter(progress) as report:
            return self._run(operations.wait_tracking(job_id, poll_s, timeout_s, report))

    def list_models(self) -> list[ModelInfo]:
        """Read what is deployed now."""
        return self._run(operations.list_models())

    def get_settings(self) -> Settings:
        """Read the settings as they are now."""
        return self._run(operations.get_settings())

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request to a path below the base URL; ``options`` are httpx's."""
        return self._run(operations.checked(Call("GET", path, options=options)))

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST request to a path below the base URL; ``options`` are httpx's (``json``, ``files``, ...)."""
        return self._run(operations.checked(Call("POST", path, options=options)))

    def put(self, path: str, **options: Any) -> httpx.Response:
        """Send a PUT request to a path below the base URL; ``options`` are httpx's."""
        return self._run(operations.checked(Call("PUT", path, options=options)))

    def delete(self, path: str, **options: Any) -> httpx.Response:
        """Send a DELETE request to a path below the base URL; ``options`` are httpx's."""
        return self._run(operations.checked(Call("DELETE", path, options=options)))

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = operation.send(None)
                else:
                    step = operation.send(self._send(step))
        except StopIteration as done:
            result: T = done.value
            return result

    def _send(self, call: Call) -> httpx.Response:
        http = self._connections()
        response = http.send(http.build_request(**request_arguments(call)), stream=True)
        if not call.stream or not response.is_success:
            try:
                response.read()
            finally:
                response.close()
        return response

    def _connections(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                self._http = httpx.Client(**self._http_options)
            return self._http
