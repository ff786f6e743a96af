"""What the client says and how it reads the answers, without any input or output.

Each operation is a generator: it yields :class:`Call` (send this) and :class:`Pause` (wait), is sent the answer of each
call, and returns its result. The asynchronous and the synchronous client differ only in how they drive these
generators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import httpx

from pixano_inference.schemas import (
    BaseResponse,
    Capability,
    MediaBytes,
    ModelInfo,
    SegmentationRequest,
    Settings,
    TrackingJob,
    TrackingRequest,
)

from .errors import RequestFailed, failure
from .known_images import KnownImages
from .media import data_uri
from .request_media import InferenceRequest, hold_bytes, nameable_images
from .wire import JSON, MSGPACK, from_response, holds_arrays, parse, plain, to_json, to_msgpack

T = TypeVar("T")
ResponseT = TypeVar("ResponseT", bound=BaseResponse)

NDJSON = "application/x-ndjson"
SEND_IMAGE = "send_image"
"""The ``code`` of a 404 by which the server says that it does not hold an image that was named by its digest."""

_FIRST_POLL_S = 0.05


@dataclass(frozen=True)
class Call:
    """One HTTP request.

    Attributes:
        method: HTTP method.
        path: Below the base URL.
        headers: Beside those of every request.
        content: The body, or null.
        parts: The parts of a multipart body, or null: field name, and file name, content and media type.
        stream: Hand the answer over as soon as its headers are there.
        options: More arguments for httpx.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    parts: list[tuple[str, tuple[str, bytes, str]]] | None = None
    stream: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """Wait for some seconds before going on."""

    seconds: float


Operation: TypeAlias = Generator[Call | Pause, httpx.Response | None, T]


def _answer(call: Call) -> Operation[httpx.Response]:
    response = yield call
    if response is None:
        raise RuntimeError("a call was driven as if it were a pause")
    return response


def checked(call: Call) -> Operation[httpx.Response]:
    """Make one call.

    Raises:
        RequestFailed: The server answered with an error.
    """
    response = yield from _answer(call)
    if not response.is_success:
        raise failure(response)
    return response


def get_settings() -> Operation[Settings]:
    """Read the settings."""
    return parse((yield from checked(Call("GET", "app/settings/"))), Settings)


def list_models() -> Operation[list[ModelInfo]]:
    """Read the list of models."""
    response = yield from checked(Call("GET", "app/models/"))
    return [ModelInfo.model_validate(item) for item in from_response(response)]


def infer(
    capability: Capability, request: InferenceRequest, schema: type[ResponseT], known: KnownImages
) -> Operation[ResponseT]:
    """Ask a model, and wait for the whole answer."""
    response = yield from _ask(request, known, lambda held, media: _inference_call(capability, held, media))
    return parse(response, schema)


def open_stream(capability: Capability, request: InferenceRequest, known: KnownImages) -> Operation[httpx.Response]:
    """Ask a model for a streamed answer; the body of the response has yet to be read."""

    def call(held: InferenceRequest, media: Callable[[MediaBytes], str]) -> Call:
        path = f"inference/{capability}/stream"
        if capability is Capability.TRACKING and (upload := _upload_call(f"{path}/binary", held, NDJSON)):
            return replace(upload, stream=True)
        return _body_call(path, plain(held, media), accept=NDJSON, stream=True)

    return (yield from _ask(request, known, call))


def submit_tracking(request: TrackingRequest) -> Operation[TrackingJob]:
    """Hand in a tracking job."""
    held = hold_bytes(request)
    call = _upload_call("inference/tracking/jobs/binary", held) or _body_call(
        "inference/tracking/jobs/", plain(held, data_uri)
    )
    return parse((yield from checked(call)), TrackingJob)


def tracking_job(job_id: str) -> Operation[TrackingJob]:
    """Read the state of a job."""
    return parse((yield from checked(Call("GET", f"inference/tracking/jobs/{job_id}"))), TrackingJob)


def cancel_tracking(job_id: str) -> Operation[TrackingJob]:
    """Cancel a job."""
    return parse((yield from checked(Call("DELETE", f"inference/tracking/jobs/{job_id}"))), TrackingJob)


def wait_tracking(
    job_id: str, poll_s: float, timeout_s: float | None, report: Callable[[TrackingJob], None]
) -> Operation[TrackingJob]:
    """Poll a job until it has ended, sooner at first so that a short job is not waited for longer than it takes.

    Raises:
        RequestFailed: The job failed (500) or was canceled (409), or the server does not know it (404).
        TimeoutError: The job has not ended after ``timeout_s``; it goes on.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause = min(_FIRST_POLL_S, poll_s)
    while True:
        job = yield from tracking_job(job_id)
        report(job)
        if job.status == "completed":
            return job
        if job.status in ("failed", "canceled"):
            status = 500 if job.status == "failed" else 409
            raise RequestFailed(status, job.detail or f"the tracking job {job_id} was {job.status}")
        if deadline is not None and time.monotonic() + pause > deadline:
            raise TimeoutError(f"the tracking job {job_id} is still {job.status} after {timeout_s} s; it goes on")
        yield Pause(pause)
        pause = min(pause * 1.5, poll_s)


def _ask(
    request: InferenceRequest,
    known: KnownImages,
    make_call: Callable[[InferenceRequest, Callable[[MediaBytes], str]], Call],
) -> Operation[httpx.Response]:
    """Send a request, its images by their digests if the server should know them, and by their bytes if it does not."""
    held = hold_bytes(request)
    images = list(nameable_images(held))
    named = {image.digest for image in images if image.digest in known}
    refusal = None
    if named:
        response = yield from _answer(
            make_call(held, lambda medium: str(medium) if medium.digest in named else data_uri(medium))
        )
        if response.is_success:
            return _remembered(response, images, known)
        refusal = failure(response)
        if refusal.status_code not in (400, 404, 422):
            raise refusal
    response = yield from checked(make_call(held, data_uri))
    if refusal is not None and refusal.code != SEND_IMAGE:
        # the same request with the bytes in it was fine: this server does not know what a digest is
        known.supported = False
    return _remembered(response, images, known)


def _remembered(response: httpx.Response, images: list[MediaBytes], known: KnownImages) -> httpx.Response:
    for image in images:
        known.add(image.digest)
    return response


def _inference_call(capability: Capability, held: InferenceRequest, media: Callable[[MediaBytes], str]) -> Call:
    accept = JSON
    if isinstance(held, SegmentationRequest) and (held.return_image_embedding or held.return_logits):
        accept = f"{MSGPACK}, {JSON};q=0.5"
    if media is data_uri and (upload := _upload_call(f"inference/{capability}/binary", held, accept)):
        return upload
    return _body_call(f"inference/{capability}/", plain(held, media), accept=accept)


def _body_call(path: str, fields: dict[str, Any], *, accept: str = JSON, stream: bool = False) -> Call:
    if holds_arrays(fields):
        return Call("POST", path, {"accept": accept, "content-type": MSGPACK}, to_msgpack(fields), stream=stream)
    return Call("POST", path, {"accept": accept, "content-type": JSON}, to_json(fields), stream=stream)


def _upload_call(path: str, held: InferenceRequest, accept: str = JSON) -> Call | None:
    """Return the call that sends images as they are, or null where only text will do."""
    if isinstance(held, SegmentationRequest):
        name, media = "image", [held.image]
        fields = plain(held.model_copy(update={"image": None}))
    elif isinstance(held, TrackingRequest) and isinstance(held.video, list):
        name, media = "frames", held.video
        fields = plain(held.model_copy(update={"video": None}))
    else:
        return None
    content = [bytes(medium.data) for medium in media if isinstance(medium, MediaBytes)]
    # arrays travel better as MessagePack than as the JSON that a metadata part is made of
    if len(content) != len(media) or holds_arrays(fields):
        return None
    parts = [("metadata", ("metadata.json", to_json(fields), JSON))]
    parts += [(name, (f"{index}", data, "application/octet-stream")) for index, data in enumerate(content)]
    return Call("POST", path, {"accept": accept}, parts=parts)
