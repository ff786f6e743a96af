"""The HTTP contract with canned answers: what the client's tests need to see from the other side of a socket.

It notes what it was sent. The same tests run against the real server in ``test_client_system.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from pixano_inference.client.media import bytes_of_data_uri
from pixano_inference.schemas import CompressedRLE

SETTINGS = {
    "app_name": "Pixano Inference",
    "app_version": "1.0",
    "app_description": "canned",
    "num_cpus": 2,
    "num_gpus": 1,
    "num_nodes": 1,
    "gpus_used": 0.5,
    "gpu_to_model": {"0": "seg"},
    "models": ["seg", "find", "follow", "ask"],
    "models_to_capability": {"seg": "segmentation", "find": "detection", "follow": "tracking", "ask": "vlm"},
}
EMBEDDING = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) / 7


@dataclass
class Seen:
    """One inference request as it came in: where, in what form, and its fields with media as they were sent."""

    path: str
    content_type: str
    accept: str
    headers: dict[str, str]
    fields: dict[str, Any]
    parts: list[bytes] = field(default_factory=list)


class ContractApp:
    """Answers every request with what it can tell about the image that it was sent."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.images: dict[str, bytes] = {}
        self.digests = True
        self.stopped = threading.Event()
        self.jobs: dict[str, dict[str, Any]] = {}
        routes = [
            Route("/app/settings/", lambda request: JSONResponse(SETTINGS)),
            Route("/app/models/", self.models),
            Route("/old/", lambda request: RedirectResponse("/app/settings/", 307)),
            Route("/echo/", self.echo, methods=["GET", "POST", "PUT", "DELETE"]),
            Route("/html/", lambda request: Response("<h1>no</h1>", 502, media_type="text/html")),
            Route("/inference/tracking/jobs/", self.submit, methods=["POST"]),
            Route("/inference/tracking/jobs/binary", self.submit, methods=["POST"]),
            Route("/inference/tracking/jobs/{job_id}", self.job, methods=["GET", "DELETE"]),
            Route("/inference/{capability}/stream", self.stream, methods=["POST"]),
            Route("/inference/{capability}/stream/binary", self.stream, methods=["POST"]),
            Route("/inference/{capability}/", self.infer, methods=["POST"]),
            Route("/inference/{capability}/binary", self.infer, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def models(self, request: Request) -> Response:
        capabilities = SETTINGS["models_to_capability"]
        assert isinstance(capabilities, dict)
        return JSONResponse([{"name": name, "capability": what, "later": 1} for name, what in capabilities.items()])

    async def echo(self, request: Request) -> Response:
        body = (await request.body()).decode()
        return JSONResponse({"method": request.method, "body": body, "headers": dict(request.headers)})

    async def read(self, request: Request) -> tuple[dict[str, Any], list[bytes]]:
        """Return the fields and the images of a request, whichever way it was sent; note it down."""
        content_type = request.headers["content-type"].partition(";")[0]
        parts: list[bytes] = []
        if content_type == "multipart/form-data":
            async with request.form() as form:
                metadata = form["metadata"]
                assert isinstance(metadata, UploadFile)
                fields = json.loads(await metadata.read())
                for name in ("image", "frames"):
                    parts += [await part.read() for part in form.getlist(name) if isinstance(part, UploadFile)]
        elif content_type == "application/msgpack":
            fields = msgspec.msgpack.decode(await request.body())
        else:
            fields = json.loads(await request.body())
        headers = dict(request.headers)
        self.seen.append(Seen(request.url.path, content_type, headers["accept"], headers, fields, parts))
        return fields, parts

    def image(self, text: str) -> bytes | None:
        """Return the bytes behind a data URI or digest; null for an unknown digest."""
        held = bytes_of_data_uri(text)
        if held is not None:
            self.images[held.digest] = bytes(held.data)
            return bytes(held.data)
        return self.images.get(text.removeprefix("sha256:")) if self.digests else None

    async def infer(self, request: Request) -> Response:
        fields, parts = await self.read(request)
        capability = request.path_params["capability"]
        if (refusal := self.refusal(fields, capability)) is not None:
            return refusal
        if capability == "tracking":
            return self.answer(request, fields, tracking_output(fields, parts))
        if capability == "vlm":
            return self.answer(request, fields, vlm_output(fields))
        data = parts[0] if parts else self.image(fields["image"])
        if data is None:
            if not self.digests:
                return JSONResponse({"detail": "the image is no data URI, URL or path"}, 422)
            return JSONResponse({"detail": "send the image", "code": "send_image"}, 404)
        self.images[hashlib.sha256(data).hexdigest()] = data
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
        output = segmentation_output(fields, size) if capability == "segmentation" else detection_output(fields, size)
        return self.answer(request, fields, output)

    def refusal(self, fields: dict[str, Any], capability: str) -> Response | None:
        models = SETTINGS["models_to_capability"]
        assert isinstance(models, dict)
        if fields["model"] == "busy":
            return JSONResponse({"detail": "the queue is full"}, 429, {"Retry-After": "7", "X-Request-ID": "r-1"})
        if fields["model"] not in models:
            return JSONResponse({"detail": f"Model {fields['model']!r} not found"}, 404)
        if models[fields["model"]] != capability:
            return JSONResponse({"detail": "wrong capability"}, 400)
        return None

    def answer(self, request: Request, fields: dict[str, Any], data: dict[str, Any]) -> Response:
        body = {**envelope(fields), "data": data}
        if request.headers["accept"].startswith("application/msgpack"):
            packed = msgspec.msgpack.encode(body, enc_hook=lambda a: {"shape": a.shape, "values": a.tobytes()})
            return Response(packed, media_type="application/msgpack")
        return Response(
            msgspec.json.encode(body, enc_hook=lambda a: {"shape": a.shape, "values": a.ravel().tolist()}),
            media_type="application/json",
        )

    async def stream(self, request: Request) -> Response:
        fields, parts = await self.read(request)
        if (refusal := self.refusal(fields, request.path_params["capability"])) is not None:
            return refusal
        fields.setdefault("video", parts)
        lines = self.frames(fields) if request.path_params["capability"] == "tracking" else self.pieces(fields)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def frames(self, fields: dict[str, Any]) -> AsyncIterator[bytes]:
        mask = CompressedRLE.from_mask(np.eye(3)).model_dump()
        try:
            for index in range(len(fields["video"])):
                frame = {"frame_index": index, "objects_ids": fields["objects_ids"], "masks": [mask]}
                line = json.dumps({**frame, "frames_done": index + 1, "frames_total": len(fields["video"])}) + "\n"
                yield line[:20].encode()
                yield line[20:].encode()
                if fields.get("propagate") is False:  # a model that is slow, for those who leave early
                    await asyncio.sleep(30)
            if fields.get("interval") is not None:
                yield b'{"error": {"detail": "the model failed", "status": 500}}\n'
            elif fields["objects_ids"] != [99]:
                yield b'{"done": true, "processing_time": 0.5, "metadata": {"model_name": "follow"}}\n'
        finally:
            self.stopped.set()

    async def pieces(self, fields: dict[str, Any]) -> AsyncIterator[bytes]:
        for word in ("two ", "red\u2028", "circles\u0085\n"):
            yield json.dumps({"text": word}, ensure_ascii=False).encode() + b"\n"
        yield json.dumps({"done": True, "processing_time": 0.1, "data": vlm_output(fields)}).encode() + b"\n"

    async def submit(self, request: Request) -> Response:
        fields, parts = await self.read(request)
        job_id = f"job-{len(self.jobs)}"
        outcome = fields["model"] if fields["model"] in ("failed", "canceled") else "completed"
        job = {"job_id": job_id, "looks": 0, "outcome": outcome, "fields": fields, "parts": parts, "canceled": False}
        self.jobs[job_id] = job
        return JSONResponse(job_state(job), 202)

    async def job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job_id"])
        if job is None:
            return JSONResponse({"detail": "no such job"}, 404)
        if request.method == "DELETE":
            job["canceled"] = True
        job["looks"] += 1
        return JSONResponse(job_state(job))


def job_state(job: dict[str, Any]) -> dict[str, Any]:
    status = ["queued", "running", "running"][job["looks"]] if job["looks"] < 3 else job["outcome"]
    status = "canceled" if job["canceled"] else status
    return {
        "job_id": job["job_id"],
        "status": status,
        "detail": "out of memory" if status == "failed" else None,
        "data": tracking_output(job["fields"], job["parts"]) if status == "completed" else None,
        "metadata": {"frames_done": min(job["looks"], 3), "frames_total": 3},
        "timestamp": "2026-01-01T00:00:00Z",
        "processing_time": 0.1,
    }


def envelope(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "1",
        "status": "SUCCESS",
        "timestamp": "2026-01-01T00:00:00Z",
        "processing_time": 0.25,
        "metadata": {"model_name": fields["model"]},
    }


def segmentation_output(fields: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Answer a mask that is one pixel at the first point."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for prompt in fields.get("points") or [[[0, 0]]]:
        mask[prompt[0][1], prompt[0][0]] = True
    output: dict[str, Any] = {
        "masks": [[CompressedRLE.from_mask(mask).model_dump()] * 2],
        "scores": {"values": [0.5, None], "shape": [1, 2]},
    }
    if fields.get("return_image_embedding"):
        output |= {"image_embedding": EMBEDDING, "high_resolution_features": [EMBEDDING, EMBEDDING]}
    if fields.get("return_logits"):
        output["mask_logits"] = EMBEDDING
    return output


def detection_output(fields: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    return {"boxes": [[0, 0, *size]], "scores": [0.75], "classes": [fields["classes"][0]], "masks": None}


def tracking_output(fields: dict[str, Any], parts: list[bytes]) -> dict[str, Any]:
    count = len(parts) or len(fields["video"])
    width, height = (3, 2)
    if parts:
        with Image.open(io.BytesIO(parts[0])) as image:
            width, height = image.size
    masks = [CompressedRLE.from_mask(np.full((height, width), index % 2)).model_dump() for index in range(count)]
    return {"objects_ids": fields["objects_ids"] * count, "frame_indexes": list(range(count)), "masks": masks}


def vlm_output(fields: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    return {"generated_text": "two red circles", "usage": usage, "generation_config": {"images": fields.get("images")}}


@contextmanager
def served(app: ContractApp) -> Iterator[str]:
    """Serve the app from a thread of this process; yields the base URL."""
    config = uvicorn.Config(app.app, port=0, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the test's server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
