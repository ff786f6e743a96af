"""The Open Inference Protocol on a runner's port, for KServe's probes and for callers that know the secret.

Health and metadata are open: they tell what the manifests say anyway. Inference needs the secret. A runner reads image
bytes, pixels and data URIs; it opens no URL and no path.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pixano_inference import __version__
from pixano_inference.bounds import check_bounds
from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import NotAuthenticated, NotFound, PixanoError, TooLarge
from pixano_inference.oip.answer import VERSION, answer, receive
from pixano_inference.oip.media import MediaReader
from pixano_inference.oip.metadata import model_metadata, server_metadata
from pixano_inference.oip.request import InferRequest
from pixano_inference.oip.signatures import SIGNATURES
from pixano_inference.protocol.answers import (
    OIP_PREFIX,
    JSONResponse,
    error_response,
    failure,
    readiness_response,
    schema_errors,
)
from pixano_inference.protocol.disconnect import unless_disconnected
from pixano_inference.protocol.messages import to_plain
from pixano_inference.protocol.request_id import HEADER as REQUEST_ID_HEADER
from pixano_inference.protocol.request_id import accept_or_make, current_request_id
from pixano_inference.protocol.tracing import request_span
from pixano_inference.schemas import CAPABILITIES, Schema

from .host import ModelHost
from .wire_names import SECRET_HEADER

logger = logging.getLogger(__name__)

_PATH = re.compile(
    rf"{OIP_PREFIX}(?P<health>/health/live|/health/ready)?"
    rf"|{OIP_PREFIX}/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<action>/ready|/infer)?"
)


class OipRunnerApp:
    """Answers the protocol's paths for the one model of a runner.

    Args:
        host: The model.
        secret: What callers of inference must know, sent as ``X-API-Key``, as a bearer token, or in the gateway's own
            header; null: everybody may call.
        settings: The limits.
    """

    def __init__(self, host: ModelHost, secret: str | None, settings: ServerSettings) -> None:
        self._host = host
        self._secret = secret
        self._settings = settings
        self._signature = SIGNATURES[host.resolved.capability]
        self._reader = MediaReader(settings.max_image_pixels, keeps_references=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        request_id = accept_or_make(request.headers.get(REQUEST_ID_HEADER))
        response = await self._respond_or_refuse(request)
        response.headers[REQUEST_ID_HEADER] = request_id
        await response(scope, receive, send)

    async def _respond_or_refuse(self, request: Request) -> Response:
        path: str = request.scope["path"]
        try:
            return await self._respond(request, path)
        except ClientDisconnect:
            return Response(status_code=499)
        except PixanoError as error:
            response = error_response(error, path)
            if isinstance(error, NotAuthenticated):
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        except ValidationError as error:
            return failure(schema_errors(error.errors()), 422, path=path)
        except MemoryError:
            return error_response(TooLarge("the request needs more memory than there is"), path)
        except Exception:  # the outermost: a caller gets JSON, whatever happened
            logger.exception("request %s failed", current_request_id())
            return error_response(PixanoError("the runner failed on this request"), path)

    async def _respond(self, request: Request, path: str) -> Response:
        found = _PATH.fullmatch(path)
        if found is None:
            return failure("Not Found", 404, path=path)
        action = found["action"]
        if request.method != ("POST" if action == "/infer" else "GET"):
            return failure("Method Not Allowed", 405, path=path)
        if found["model"] is None:
            return self._server(found["health"])
        name = self._host.resolved.name
        if found["model"] != name:
            raise NotFound(f"Model '{found['model'][:128]}' not found: this runner serves '{name}'")
        if found["version"] not in (None, VERSION):
            raise NotFound(f"Model '{name}' has no version '{found['version'][:32]}'; it has {VERSION}")
        if action == "/infer":
            self._authenticate(request)
            return await self._infer(request)
        if action == "/ready":
            # the reason of a failure may hold paths, and anybody may ask here: the gateway's callers get it
            body = {"name": name, "ready": self._ready, "reason": None if self._ready else self._host.state}
            return readiness_response(body, ready=self._ready)
        return JSONResponse(model_metadata(name, self._host.resolved.capability))

    @property
    def _ready(self) -> bool:
        return self._host.state == "ready"

    def _server(self, health: str | None) -> Response:
        if health is None:
            return JSONResponse(server_metadata(__version__))
        if health == "/health/live":
            return JSONResponse({"live": True})
        return readiness_response({"ready": self._ready}, ready=self._ready)

    def _authenticate(self, request: Request) -> None:
        if self._secret is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = (
            request.headers.get(SECRET_HEADER)
            or request.headers.get("x-api-key")
            or (token.strip() if scheme.lower() == "bearer" else "")
        )
        if not hmac.compare_digest(sent.encode(), self._secret.encode()):
            raise NotAuthenticated("a runner answers who knows its secret: send it as X-API-Key or as a bearer token")

    async def _infer(self, request: Request) -> Response:
        with contextlib.ExitStack() as until_answered:
            arrival = self._host.arrive()
            until_answered.callback(arrival.end)
            until_answered.enter_context(request_span("runner/infer", request.headers))
            sent = await receive(request, self._signature, self._settings)
            # images are hashed, and pixels become files
            plain = to_plain(await asyncio.to_thread(self._parse, sent))
            timeout_s = self._host.resolved.deployment.timeout_s
            told = await unless_disconnected(request, self._host.predict(plain, timeout_s, arrival))
            return await answer(self._host.resolved.name, sent, self._signature, told["data"])

    def _parse(self, sent: InferRequest) -> Schema:
        schema: type[Schema] = CAPABILITIES[self._host.resolved.capability].input
        parsed = schema.model_validate(sent.fields(self._signature, self._reader))
        check_bounds(parsed, self._settings)
        return parsed
