"""Calls with KServe's own client; run by ``test_kserve_client.py`` in an environment that has it.

    python kserve_calls.py URL MODEL [KEY]

Prints what came back as one JSON object.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from PIL import Image

HEIGHT, WIDTH = 48, 64
PIXELS = np.full((HEIGHT, WIDTH, 3), (200, 0, 0), dtype=np.uint8)
POINT = np.array([[[20, 30]]], dtype=np.int64)


def tensor(name: str, values: np.ndarray[Any, Any], datatype: str, *, binary: bool) -> Any:
    """Return an input of the client."""
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def png() -> bytes:
    """Return the image as a file."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    return buffer.getvalue()


async def calls(url: str, model: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask everything that the client can ask."""
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:

        async def infer(inputs: list[Any], outputs: list[str], *, binary: bool) -> Any:
            wanted = [RequestedOutput(name, {"binary_data": binary}) for name in outputs]
            # a client makes its headers anew for each request: it adds to those that it is given
            request = InferRequest(model, inputs, request_id="abc", request_outputs=wanted)
            return await client.infer(url, request, model_name=model, headers=dict(headers), timeout=30)

        found: dict[str, Any] = {
            "live": await client.is_server_live(url, headers=headers),
            "ready": await client.is_server_ready(url, headers=headers),
            "model": await client.is_model_ready(url, model, headers=headers),
            "no model": await client.is_model_ready(url, "no-such-model", headers=headers),
        }
        file = np.array([png()], dtype=np.object_)
        for way, binary in (("binary", True), ("json", False)):
            image = (
                tensor("image", file, "BYTES", binary=True)
                if binary
                else tensor("pixels", PIXELS, "UINT8", binary=False)
            )
            points = tensor("points", POINT, "INT64", binary=binary)
            answer = await infer([image, points], ["masks", "scores", "masks_rle"], binary=binary)
            outputs = {output.name: output for output in answer.outputs}
            masks = outputs["masks"].as_numpy()
            found[way] = {
                "id": answer.id,
                "model": answer.model_name,
                "names": list(outputs),
                "dtype": str(masks.dtype),
                "shape": list(masks.shape),
                "pixels": int(masks.sum()),
                "at the point": int(masks[0, 0, 30, 20]),
                "score": float(outputs["scores"].as_numpy()[0, 0]),
                "rle": json.loads(outputs["masks_rle"].as_numpy()[0, 0])["size"],
            }
        try:
            await infer([tensor("boxes", POINT, "INT64", binary=True)], ["masks"], binary=False)
        except httpx.HTTPStatusError as error:
            found["refused"] = [error.response.status_code, str(error).partition(", '")[0]]
        try:
            bare = InferRequest(model, [tensor("pixels", PIXELS, "UINT8", binary=True)])
            await client.infer(url, bare, model_name=model, headers={}, timeout=30)
            found["without a key"] = 200
        except httpx.HTTPStatusError as error:
            found["without a key"] = error.response.status_code
        return found


if __name__ == "__main__":
    key = {"Authorization": f"Bearer {sys.argv[3]}"} if len(sys.argv) > 3 else {}
    print(json.dumps(asyncio.run(calls(sys.argv[1], sys.argv[2], key))))
