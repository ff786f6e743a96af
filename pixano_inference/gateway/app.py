"""The gateway's application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pixano_inference import __version__
from pixano_inference.protocol.answers import failure
from pixano_inference.protocol.request_id import HEADER, accept_or_make

from . import errors, openapi, routes_inference, routes_oip, routes_service, routes_stream
from .compression import CompressionMiddleware
from .held_bodies import HeldBodies
from .jobs import routes as routes_jobs
from .middleware import GatewayMiddleware
from .routes_service import APP_DESCRIPTION, APP_NAME
from .shares import CallerShares
from .state import GatewayState

PLAYGROUND = Path(__file__).parent / "playground"
"""A page to try the models in a browser."""


class _CORSMiddleware(CORSMiddleware):
    """Answers preflights itself; those answers, too, have an id, and tell a refusal as all others do."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser that asks before it sends."""
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            text = bytes(response.body).decode()
            response = failure(text, response.status_code, headers={"Vary": response.headers["Vary"]})
        response.headers[HEADER] = accept_or_make(request_headers.get(HEADER))
        return response


def create_routes(state: GatewayState) -> FastAPI:
    """Make the routes, without the middleware around them."""
    app = FastAPI(
        title=APP_NAME,
        version=__version__,
        description=APP_DESCRIPTION,
        redirect_slashes=False,  # the middleware does that, without the host that the caller claims
        redoc_url=None,
    )
    errors.install(app)
    openapi.install(app)
    app.include_router(routes_service.make_router(state))
    app.include_router(routes_inference.make_router(state))
    app.include_router(routes_stream.make_router(state))
    app.include_router(routes_jobs.make_router(state))
    app.include_router(routes_oip.make_router(state))
    app.mount("/playground", StaticFiles(directory=PLAYGROUND, html=True), name="playground")
    return app


def create_app(state: GatewayState) -> ASGIApp:
    """Make the application; start and close ``state`` around its life."""
    routes = create_routes(state)
    settings = state.settings
    shares = CallerShares(settings.max_requests_per_key, settings.requests_per_minute_per_key)
    most = int(settings.max_held_mb * 1024 * 1024)
    bodies = HeldBodies(most, most // 2 if state.keys.required else most)
    app = GatewayMiddleware(CompressionMiddleware(routes), routes, state.keys, shares, bodies, state.leaving)
    if not settings.cors_origins:
        return app
    # outermost, since a browser's preflight carries no API key
    return _CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["X-Request-ID", "Retry-After"],
    )
