"""The endpoints of tracking jobs."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pixano_inference.bounds import check_bounds
from pixano_inference.errors import Unavailable
from pixano_inference.gateway.body import read_schema
from pixano_inference.gateway.inference import input_fields, prepare
from pixano_inference.gateway.multipart import parse_metadata, read_upload_parts
from pixano_inference.gateway.openapi import error_responses, json_body, multipart_body
from pixano_inference.gateway.routes_inference import caller_of
from pixano_inference.gateway.runner_pool import RunnerPool
from pixano_inference.gateway.state import GatewayState
from pixano_inference.protocol.answers import JSONResponse
from pixano_inference.protocol.messages import to_plain
from pixano_inference.schemas import Capability, TrackingJob, TrackingRequest

from .job import Job, JobStatus
from .service import JobService
from .spool import Spool


async def answer(state: GatewayState, job: Job) -> Response:
    """Return what a caller is told about a job."""
    data = await state.jobs.output(job) if job.status is JobStatus.COMPLETED else None
    pool = state.pools.get(job.model)
    metadata = {
        **job.metadata,
        "model_name": job.model,
        "capability": str(Capability.TRACKING),
        "model_class": pool.model.model_class if pool is not None else None,
        "frames_done": job.frames_done,
        "frames_total": job.frames_total,
        "attempts": job.attempts,
        "created": _iso(job.created),
        "started": _iso(job.started),
        "finished": _iso(job.finished),
    }
    if job.error_status is not None:
        metadata["error_status"] = job.error_status
    return await run_in_threadpool(
        JSONResponse,
        {
            "job_id": job.job_id,
            "status": str(job.status),
            "detail": job.detail,
            "data": data,
            "metadata": metadata,
            "timestamp": datetime.now(UTC).isoformat(),
            "processing_time": job.processing_time(time.time()),
        },
    )


def _iso(moment: float | None) -> str | None:
    return datetime.fromtimestamp(moment, UTC).isoformat() if moment is not None else None


def _check_loadable(pool: RunnerPool) -> None:
    # a runner that is starting, restarting or asleep will come; one whose model cannot be loaded will not
    if pool.state[0] == "failed":
        raise Unavailable(f"model {pool.model.name!r} is not ready: {pool.state[1]}", retry_after_s=30)


async def _submit_json(state: GatewayState, http_request: Request) -> Job:
    jobs, caller = state.jobs, caller_of(http_request)
    await jobs.check_quota(caller)
    request = await read_schema(http_request, TrackingRequest, int(state.settings.max_body_mb * 1024 * 1024))
    prepared = await prepare(state, http_request, Capability.TRACKING, request, caller)
    _check_loadable(prepared.pool)
    video = prepared.plain.pop("video")
    with jobs.spool() as spool:
        await run_in_threadpool(_spool_all, spool, video if isinstance(video, list) else [video])
        frames = len(video) if isinstance(video, list) else None
        return await jobs.submit(caller, request.model, prepared.plain, spool, frames=frames)


def _spool_all(spool: Spool, media: list[dict[str, object]]) -> None:
    for medium in media:
        spool.add(medium)


async def _submit_upload(state: GatewayState, http_request: Request) -> Job:
    jobs: JobService = state.jobs
    caller = caller_of(http_request)
    await jobs.check_quota(caller)
    with jobs.spool() as spool:

        def keep(part: bytes) -> str:
            return spool.add_frame(state.media.check_upload(part, ("body", "frames")))

        metadata, names = await read_upload_parts(http_request, state.settings, files="frames", keep=keep)
        request = parse_metadata(metadata, TrackingRequest, {"video": names})
        pool = state.pool(request.model, Capability.TRACKING)
        http_request.state.model = pool.model
        _check_loadable(pool)
        check_bounds(request, state.settings)
        fields = {
            name: to_plain(getattr(request, name)) for name in input_fields(Capability.TRACKING) if name != "video"
        }
        return await jobs.submit(caller, request.model, fields, spool, frames=len(names))


def make_router(state: GatewayState) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/inference/tracking/jobs", tags=["jobs"])
    upload = multipart_body(TrackingRequest, "frames")

    @router.post(
        "/",
        response_model=TrackingJob,
        responses=error_responses(400, 401, 404, 413, 415, 422, 429, 500, 503),
        openapi_extra=json_body(TrackingRequest),
    )
    async def submit_job(request: Request) -> Response:
        """Put a tracking request into the queue and answer at once."""
        return await answer(state, await _submit_json(state, request))

    @router.post(
        "/binary",
        response_model=TrackingJob,
        responses=error_responses(400, 401, 404, 413, 422, 429, 500, 503),
        openapi_extra=upload,
    )
    async def submit_job_upload(request: Request) -> Response:
        """Put a tracking request with uploaded frames into the queue and answer at once."""
        return await answer(state, await _submit_upload(state, request))

    @router.get("/{job_id}", response_model=TrackingJob, responses=error_responses(401, 404, 500, 503))
    async def get_job(request: Request, job_id: str) -> Response:
        """Tell how far a job is; `data` holds the masks once it has completed."""
        return await answer(state, await state.jobs.find(caller_of(request), job_id))

    @router.delete("/{job_id}", response_model=TrackingJob, responses=error_responses(401, 404, 500, 503))
    async def cancel_job(request: Request, job_id: str) -> Response:
        """Cancel a job; the model stops within one frame. A job that has finished stays as it is."""
        return await answer(state, await state.jobs.cancel(caller_of(request), job_id))

    return router
