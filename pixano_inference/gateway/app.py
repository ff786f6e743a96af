"""The gateway's application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pixano_inference import __version__

from . import errors, openapi, routes_inference, routes_oip, routes_service, routes_stream
from .compression import CompressionMiddleware
from .jobs import routes as routes_jobs
from .middleware import GatewayMiddleware
from .routes_service import APP_DESCRIPTION, APP_NAME
from .shares import CallerShares
from .state import GatewayState

PLAYGROUND = Path(__file__).parent / "playground"
"""A page to try the models in a browser."""


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
    app = GatewayMiddleware(CompressionMiddleware(routes), routes, state.keys, shares, state.leaving)
    if not settings.cors_origins:
        return app
    # outermost, since a browser's preflight carries no API key
    return CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["X-Request-ID", "Retry-After"],
    )
