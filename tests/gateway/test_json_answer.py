"""Arrays in JSON: shortest float32, the same bytes whether they are written in one go or in pieces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from starlette.responses import StreamingResponse

from pixano_inference.gateway import json_answer as module
from pixano_inference.gateway.json_answer import json_answer


def envelope(*sizes: int) -> dict[str, Any]:
    arrays = [np.random.default_rng(size).standard_normal(size).astype("<f4") for size in sizes]
    return {"id": "a", "data": {"arrays": [{"shape": [len(a)], "values": a.tobytes()} for a in arrays], "none": None}}


@pytest.mark.parametrize("sizes", [(1,), (100, 5), (70_000,), (32_768, 32_768), (65_537, 3)])
async def test_values_come_back_as_the_same_float32(sizes: tuple[int, ...]) -> None:
    sent = envelope(*sizes)
    answer = await json_answer(sent)
    got = json.loads(bytes(answer.body))
    assert got["id"] == "a"
    assert got["data"]["none"] is None
    for array, plain in zip(got["data"]["arrays"], sent["data"]["arrays"], strict=True):
        assert array["shape"] == plain["shape"]
        assert np.array(array["values"], dtype="<f4").tobytes() == plain["values"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))


async def test_pieces_write_what_one_go_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = envelope(70_000)
    in_pieces = (await json_answer(sent)).body
    monkeypatch.setattr(module, "_LARGE", 10**9)
    assert (await json_answer(sent)).body == in_pieces


async def test_a_huge_answer_is_sent_while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = envelope(70_000, 3, 140_000)
    whole = (await json_answer(sent)).body
    monkeypatch.setattr(module, "_STREAMED_FROM", 100_000)
    answer = await json_answer(sent)
    assert isinstance(answer, StreamingResponse)
    assert answer.headers["content-type"] == "application/json"
    pieces = [bytes(piece) async for piece in answer.body_iterator if not isinstance(piece, str)]
    assert b"".join(pieces) == whole
    assert len(pieces) > 5


async def test_float32_is_not_widened() -> None:
    values = np.array([0.1, 1 / 3], dtype="<f4").tobytes()
    answer = await json_answer({"data": {"shape": [2], "values": values}})
    assert json.loads(bytes(answer.body))["data"]["values"] == [0.1, 0.33333334]
