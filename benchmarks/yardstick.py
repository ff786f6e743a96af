"""What everything is held against: a plain FastAPI app, one process, the model in one worker thread.

It is written as one writes such a service in an afternoon: pydantic in, pydantic out, images decoded in full.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks import models as bench
from pixano_inference.configs import FreeParams, ModelConfig
from pixano_inference.models.base import SegmentationModel
from pixano_inference.schemas import ImageBytes, SegmentationInput


class Array(BaseModel):
    """Floats as a list, as pydantic wants them."""

    values: list[float]
    shape: list[int]


class Mask(BaseModel):
    """A run-length encoded mask."""

    size: list[int]
    counts: str


class Request(BaseModel):
    """Body of a request."""

    model: str
    image: str
    points: list[list[list[int]]] | None = None
    labels: list[list[int]] | None = None
    boxes: list[list[int]] | None = None
    image_embedding: Array | None = None
    high_resolution_features: list[Array] | None = None
    return_image_embedding: bool = False


class Output(BaseModel):
    """What the model answers."""

    masks: list[list[Mask]]
    scores: Array
    image_embedding: Array | None = None
    high_resolution_features: list[Array] | None = None


class Answer(BaseModel):
    """The envelope."""

    status: str
    data: Output


def _array(value: Any) -> Array | None:
    return None if value is None else Array(values=value.to_numpy().ravel().tolist(), shape=value.shape)


def make_app(models: dict[str, SegmentationModel]) -> FastAPI:
    """Make the application."""
    app = FastAPI()
    worker = ThreadPoolExecutor(max_workers=1)

    def predict(model: SegmentationModel, request: Request) -> Output:
        image = ImageBytes(base64.b64decode(request.image.partition(",")[2]))
        output = model.predict(
            SegmentationInput(image=image, points=request.points, labels=request.labels, boxes=request.boxes)
            if not request.return_image_embedding
            else SegmentationInput(image=image, return_image_embedding=True)
        )
        features = output.high_resolution_features
        return Output(
            masks=[[Mask(size=mask.size, counts=mask.text) for mask in masks] for masks in output.masks],
            scores=Array(values=output.scores.values, shape=output.scores.shape),
            image_embedding=_array(output.image_embedding),
            high_resolution_features=None if features is None else [_array(feature) for feature in features],
        )

    @app.post("/inference/segmentation/")
    async def segmentation(request: Request) -> Answer:
        model = models.get(request.model)
        if model is None:
            raise HTTPException(404)
        return Answer(
            status="SUCCESS", data=await asyncio.get_running_loop().run_in_executor(worker, predict, model, request)
        )

    @app.get("/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    return app


CLASSES: dict[str, tuple[Callable[[ModelConfig], SegmentationModel], dict[str, Any]]] = {
    "one-mask": (bench.OneMask, {}),
    "one-mask-plain": (bench.OneMaskPlain, {}),
    "at-1024": (bench.At1024, {"scaled": False}),
    "slow": (bench.SlowBatch, {}),
    "embeddings": (bench.Embeddings, {}),
}


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    models = {}
    for name, (model_class, params) in CLASSES.items():
        models[name] = model_class(ModelConfig(name=name, model_class="Bench", model_params=FreeParams(**params)))
        models[name].load_model()
    uvicorn.run(make_app(models), port=parser.parse_args().port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
