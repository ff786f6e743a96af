"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
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
from .streams import AsyncStream, frame_of, text_of
from .sync_client import SyncPixanoInferenceClient

T = TypeVar("T")


class PixanoInferenceClient(ClientBase):
    """Talks to a server, asynchronously.

    Make it with :meth:`connect`. The server's settings are its attributes: ``client.models``, ``client.num_gpus``, ...
    Connections are pooled per event loop, and closed at the end of an ``async with`` block, by :meth:`aclose`, or with
    the event loop. Coroutines may run at the same time.

    Every method raises :class:`~pixano_inference.client.RequestFailed`, a ``fastapi.HTTPException``, when the server
    answers with an error, and an ``httpx.TransportError`` when it cannot be reached.
    """

    _loop: asyncio.AbstractEventLoop | None = PrivateAttr(default=None)
    _http: httpx.AsyncClient | None = PrivateAttr(default=None)
    _lifetime: AsyncGenerator[httpx.AsyncClient, None] | None = PrivateAttr(default=None)

    @classmethod
    def connect(
        cls, url: str, *, api_key: str | None = None, timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT
    ) -> Self:
        """Read the settings of the server and return a client that carries them.

        This is a plain call, as programs written for Pixano Inference expect; it blocks for one small request. The
        client may also be awaited or entered, so these are the same::

            client = PixanoInferenceClient.connect(url)
            client = await PixanoInferenceClient.connect(url)
            async with PixanoInferenceClient.connect(url) as client: ...

        Args:
            url: Base URL, for instance ``http://127.0.0.1:7463``.
            api_key: Key to send, where the server wants one.
            timeout: Seconds for each step of a request, or null for no limit.

        Raises:
            ValueError: ``url`` is no http or https URL.
        """
        with SyncPixanoInferenceClient(url=url, api_key=api_key, timeout=timeout) as once:
            settings = once.get_settings()
        return cls(url=url, api_key=api_key, timeout=timeout, **settings.model_dump())

    def __await__(self) -> Generator[Any, None, Self]:
        yield from ()
        return self

    async def segmentation(self, request: SegmentationRequest) -> SegmentationResponse:
        """Turn prompts on an image into masks."""
        return await self._run(
            operations.infer(Capability.SEGMENTATION, request, SegmentationResponse, self._known_images)
        )

    async def detection(self, request: DetectionRequest) -> DetectionResponse:
        """Find things in an image by name."""
        return await self._run(operations.infer(Capability.DETECTION, request, DetectionResponse, self._known_images))

    async def tracking(self, request: TrackingRequest) -> TrackingResponse:
        """Follow objects through a video, and wait for the whole of it."""
        return await self._run(operations.infer(Capability.TRACKING, request, TrackingResponse, self._known_images))

    async def vlm(self, request: VLMRequest) -> VLMResponse:
        """Ask a question about images."""
        return await self._run(operations.infer(Capability.VLM, request, VLMResponse, self._known_images))

    def stream_tracking(self, request: TrackingRequest) -> AsyncStream[FrameMasks]:
        """Follow objects through a video; iterate over the masks of each frame as soon as they exist."""
        return AsyncStream(
            lambda: self._run(operations.open_stream(Capability.TRACKING, request, self._known_images)), frame_of
        )

    def stream_vlm(self, request: VLMRequest) -> AsyncStream[str]:
        """Ask a question about images; iterate over pieces of the text. ``end.data`` has the whole output."""
        return AsyncStream(
            lambda: self._run(operations.open_stream(Capability.VLM, request, self._known_images)), text_of
        )

    async def submit_tracking(self, request: TrackingRequest) -> TrackingJob:
        """Hand in a tracking job, and do not wait for it."""
        return await self._run(operations.submit_tracking(request))

    async def tracking_job(self, job_id: str) -> TrackingJob:
        """Read the state of a tracking job, and its output once it has completed."""
        return await self._run(operations.tracking_job(job_id))

    async def cancel_tracking(self, job_id: str) -> TrackingJob:
        """Cancel a tracking job; the model stops within one frame."""
        return await self._run(operations.cancel_tracking(job_id))

    async def wait_tracking(
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
            return await self._run(operations.wait_tracking(job_id, poll_s, timeout_s, report))

    async def list_models(self) -> list[ModelInfo]:
        """Read what is deployed now."""
        return await self._run(operations.list_models())

    async def get_settings(self) -> Settings:
        """Read the settings as they are now."""
        return await self._run(operations.get_settings())

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request to a path below the base URL; ``options`` are httpx's."""
        return await self._run(operations.checked(Call("GET", path, options=options)))

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST request to a path below the base URL; ``options`` are httpx's (``json``, ``files``, ...)."""
        return await self._run(operations.checked(Call("POST", path, options=options)))

    async def put(self, path: str, **options: Any) -> httpx.Response:
        """Send a PUT request to a path below the base URL; ``options`` are httpx's."""
        return await self._run(operations.checked(Call("PUT", path, options=options)))

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        """Send a DELETE request to a path below the base URL; ``options`` are httpx's."""
        return await self._run(operations.checked(Call("DELETE", path, options=options)))

    async def aclose(self) -> None:
        """Close the connections; the next request opens new ones."""
        lifetime, self._loop, self._http, self._lifetime = self._lifetime, None, None, None
        if lifetime is not None:
            await lifetime.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = operation.send(None)
                else:
                    step = operation.send(await self._send(step))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _send(self, call: Call) -> httpx.Response:
        http = await self._connections()
        response = await http.send(http.build_request(**request_arguments(call)), stream=True)
        if not call.stream or not response.is_success:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response

    async def _connections(self) -> httpx.AsyncClient:
        # Programs make the client once and then call asyncio.run() again and again; connections belong to one loop.
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            self._loop = loop
            self._http = httpx.AsyncClient(**self._http_options)
            self._lifetime = _until_the_loop_ends(self._http)
            await anext(self._lifetime)
        return self._http


async def _until_the_loop_ends(http: httpx.AsyncClient) -> AsyncGenerator[httpx.AsyncClient, None]:
    # asyncio.run() finishes the asynchronous generators that are left, and so closes what nobody else has closed
    try:
        yield http
    finally:
        await http.aclose()
