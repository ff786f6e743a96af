"""Answers of the Open Inference Protocol, as bytes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.protocol.answers import JSONResponse, array_in_pieces
from pixano_inference.protocol.body import read_body

from .request import BINARY_TYPE, InferRequest, json_length, read_infer_request
from .signatures import Signature
from .tensor import Tensor

VERSION = "1"
"""The one version of every model; a changed checkpoint is another entry of the model set."""

_IN_THREAD_FROM = 64 * 1024


async def receive(request: Request, signature: Signature, settings: ServerSettings) -> InferRequest:
    """Read the body of a request within bounds.

    Raises:
        PixanoError: Whatever is wrong with it.
    """
    length = json_length(request)
    body = await read_body(request, int(settings.max_body_mb * 1024 * 1024))
    if len(body) < _IN_THREAD_FROM:
        return read_infer_request(body, length, signature, settings)
    return await asyncio.to_thread(read_infer_request, body, length, signature, settings)


async def answer(model: str, request: InferRequest, signature: Signature, data: Mapping[str, Any]) -> Response:
    """Return a model's answer as the tensors that the request wants.

    Args:
        model: Name of the model.
        request: What was asked for.
        signature: The tensors of the model's capability.
        data: The answer as plain values.

    Raises:
        TooLarge: Masks as pixels would be too many.
        ModelFailed: The answer is no rectangular tensor.
    """
    # masks become pixels, and pixels JSON: not in the event loop
    return await asyncio.to_thread(_answer, model, request, signature, data)


def _answer(model: str, request: InferRequest, signature: Signature, data: Mapping[str, Any]) -> Response:
    made = {spec.name: make(spec, data) for spec, make in signature.outputs if spec.name in request.outputs}
    outputs: list[dict[str, Any]] = []
    sections: list[bytes] = []
    for name, binary in request.outputs.items():
        tensor = made[name]
        if tensor is None:
            continue
        output: dict[str, Any] = {"name": name, "datatype": tensor.spec.datatype, "shape": list(tensor.shape)}
        if binary:
            section = _section(tensor)
            sections.append(section)
            output["parameters"] = {"binary_data_size": len(section)}
        else:
            output["data"] = _json_data(tensor)
        outputs.append(output)
    header = {"model_name": model, "model_version": VERSION, "id": request.id or uuid.uuid4().hex, "outputs": outputs}
    if not sections:
        return JSONResponse(header)
    text = orjson.dumps(header)
    return Response(
        b"".join([text, *sections]),
        media_type=BINARY_TYPE,
        headers={"Inference-Header-Content-Length": str(len(text))},
    )


def _section(tensor: Tensor) -> bytes:
    if isinstance(tensor.values, list):
        return b"".join(len(element).to_bytes(4, "little") + element for element in tensor.values)
    return tensor.values.tobytes()


def _json_data(tensor: Tensor) -> Any:
    if isinstance(tensor.values, list):
        return [element.decode("utf-8") for element in tensor.values]
    return orjson.Fragment(array_in_pieces(np.ravel(tensor.values)))
