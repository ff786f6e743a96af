"""Settings of the server itself, from environment variables that begin with ``PIXANO_``."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class ServerSettings(BaseSettings):
    """What an operator may set; docs/operators/settings.md is generated from this class."""

    model_config = SettingsConfigDict(env_prefix="PIXANO_", extra="ignore")

    max_body_mb: Annotated[float, Field(gt=0, description="Largest request body in MiB")] = 256.0
    max_upload_mb: Annotated[float, Field(gt=0, description="Largest multipart upload of a video in MiB")] = 2048.0
    max_held_mb: Annotated[
        float,
        Field(
            gt=0,
            description="Most memory for the bodies of all requests being answered, in MiB, of which one API key may "
            "have half; uploads of jobs go to disk and do not count",
        ),
    ] = 4096.0
    max_media_mb: Annotated[float, Field(gt=0, description="Largest image fetched from a URL or path in MiB")] = 64.0
    max_video_mb: Annotated[float, Field(gt=0, description="Largest video fetched from a URL or path in MiB")] = 2048.0
    max_image_pixels: Annotated[int, Field(gt=0, description="Largest width × height of an image")] = 100_000_000
    max_image_side: Annotated[int, Field(gt=0, description="Largest width or height of an image")] = 32_768
    max_prompts: Annotated[int, Field(gt=0, description="Most prompts in a segmentation request")] = 1024
    max_points: Annotated[int, Field(gt=0, description="Most points in one prompt")] = 1024
    max_objects: Annotated[int, Field(gt=0, description="Most objects in a tracking request")] = 256
    max_frames: Annotated[int, Field(gt=0, description="Most frames in a tracking request")] = 20_000
    max_video_s: Annotated[float, Field(gt=0, description="Longest video file in seconds")] = 3600.0
    max_classes: Annotated[int, Field(gt=0, description="Most classes in a detection request")] = 512
    max_class_length: Annotated[int, Field(gt=0, description="Longest class name in characters")] = 256
    max_images: Annotated[int, Field(gt=0, description="Most images in a VLM request")] = 32
    max_prompt_length: Annotated[int, Field(gt=0, description="Longest VLM prompt in characters")] = 100_000
    max_new_tokens: Annotated[int, Field(gt=0, description="Largest max_new_tokens")] = 8192
    max_array_values: Annotated[int, Field(gt=0, description="Most values of the arrays of a request")] = 32_000_000

    media_roots: Annotated[
        list[Path], NoDecode, Field(description="Folders that requests may name files in, separated by ':'")
    ] = []
    allowed_hosts: Annotated[
        list[str], NoDecode, Field(description="Hosts that may resolve to private addresses, separated by ','")
    ] = []
    fetch_urls: Annotated[bool, Field(description="Whether images may be named by URL")] = True
    fetch_timeout_s: Annotated[float, Field(gt=0, description="Deadline for fetching one medium in seconds")] = 20.0
    fetch_redirects: Annotated[int, Field(ge=0, description="Most redirects followed; each is checked again")] = 3

    api_keys: Annotated[
        list[str], NoDecode, Field(description="API keys, separated by ','; none: everybody may call")
    ] = []
    api_keys_file: Annotated[
        Path | None, Field(description="File of keys, one a line: plain, or sha256:<hex> of the key")
    ] = None
    max_requests_per_key: Annotated[
        int | None, Field(gt=0, description="Most inference requests of one API key in flight; null: no bound")
    ] = None
    requests_per_minute_per_key: Annotated[
        float | None, Field(gt=0, description="Most inference requests of one API key per minute; null: no bound")
    ] = None
    cors_origins: Annotated[list[str], NoDecode, Field(description="Origins that browsers may call from")] = []

    seen_images_mb: Annotated[
        float, Field(ge=0, description="Memory for images that callers may name by digest, in MiB; 0: none")
    ] = 256.0
    runner_media_mb: Annotated[
        float,
        Field(ge=0, description="Memory of a runner for media that need not be sent to it again, in MiB; 0: none"),
    ] = 128.0
    wake_hold_s: Annotated[
        float, Field(ge=0, description="Seconds that a request waits for a runner that was scaled to zero")
    ] = 0.0
    runner_secret: Annotated[
        str | None, Field(description="Shared secret of gateway and runners; made at start when not given")
    ] = None
    jobs_url: Annotated[str | None, Field(description="Where jobs are kept: redis://...; null: SQLite in data_dir")] = (
        None
    )
    data_dir: Annotated[Path | None, Field(description="Folder of jobs and spooled uploads; null: a temporary one")] = (
        None
    )
    job_ttl_s: Annotated[float, Field(gt=0, description="Seconds that a finished job is kept")] = 3600.0
    hang_grace_s: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds that a model may go on after everybody who waited has given up, "
            "before its process is replaced",
        ),
    ] = 30.0
    job_timeout_s: Annotated[
        float, Field(gt=0, description="Seconds that a job may wait, and that a model may work on it")
    ] = 86400.0
    max_jobs_per_key: Annotated[int, Field(gt=0, description="Most unfinished jobs of one API key")] = 100
    max_jobs_mb: Annotated[float, Field(gt=0, description="Most media of all unfinished jobs in MiB")] = 20480.0
    otlp_endpoint: Annotated[
        str | None,
        Field(
            pattern="^https?://",
            description="OpenTelemetry collector that traces are sent to (OTLP over HTTP); null: none",
        ),
    ] = None
    log_format: Annotated[str, Field(pattern="^(text|json)$", description="Log lines as text or JSON")] = "text"

    @field_validator("media_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("allowed_hosts", "api_keys", "cors_origins", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


@lru_cache(maxsize=1)
def server_settings() -> ServerSettings:
    """Return the settings of this process."""
    return ServerSettings()
