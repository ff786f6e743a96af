"""Calling the model: what is checked, what fails alone, what is tried twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from pixano_inference.errors import Canceled, InvalidInput, ModelFailed
from pixano_inference.runner.execution import checked, public_error, run_batch
from pixano_inference.runner.work import Work
from pixano_inference.schemas import CompressedRLE, ImageBytes, SegmentationInput, SegmentationOutput

from .models import Answering, InStages, answer, config


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


class WholeBatch(Answering):
    """Answers batches by what a test put into ``results``, in turn; an exception is raised."""

    def __init__(self, *results: Any) -> None:
        super().__init__(config())
        self.results = list(results)
        self.sizes: list[int] = []
        self.freed = 0

    def predict_batch(self, inputs: Sequence[SegmentationInput]) -> list[Any]:
        self.sizes.append(len(inputs))
        result = self.results.pop(0)
        if isinstance(result, BaseException):
            raise result
        return list(result)

    def free_memory(self) -> None:
        self.freed += 1


def works(*lefts: int) -> list[Work]:
    """Requests that nobody waits for, told apart by their box's left edge."""
    deadline = time.monotonic() + 10
    image = ImageBytes(b"image")
    return [
        Work(SegmentationInput(image=image, boxes=[[left, 0, left + 1, 1]]), deadline, result=None)  # type: ignore[arg-type]  # run_batch does not look at it
        for left in lefts
    ]


def scores(results: Sequence[Any]) -> list[Any]:
    return [r.scores.values[0] if isinstance(r, SegmentationOutput) else type(r) for r in results]


def test_the_default_batch_runs_one_by_one_and_a_bad_request_fails_alone() -> None:
    assert scores(run_batch(Answering(config()), works(1, -1, 3))) == [1, InvalidInput, 3]


def test_when_the_whole_call_fails_each_request_is_tried_alone() -> None:
    model = WholeBatch(RuntimeError("batch"), [answer(1)], RuntimeError("alone"), [answer(3)])
    assert scores(run_batch(model, works(1, 2, 3))) == [1, RuntimeError, 3]
    assert model.sizes == [3, 1, 1, 1]


def test_a_lone_request_that_fails_is_not_tried_again() -> None:
    model = WholeBatch(RuntimeError("alone"))
    assert scores(run_batch(model, works(1))) == [RuntimeError]
    assert model.sizes == [1]


def test_a_wrong_number_of_results_for_a_request_tried_alone_is_a_failure() -> None:
    model = WholeBatch(RuntimeError("batch"), [], [answer(2), answer(3)])
    assert scores(run_batch(model, works(1, 2))) == [ModelFailed, ModelFailed]


def test_a_wrong_number_of_results_is_handed_on_for_the_batcher_to_refuse() -> None:
    assert len(run_batch(WholeBatch([answer()]), works(1, 2))) == 1


def test_a_full_gpu_gets_a_second_try_after_the_caches_are_dropped() -> None:
    model = WholeBatch(OutOfMemoryError("full"), [answer(1), answer(2)])
    assert scores(run_batch(model, works(1, 2))) == [1, 2]
    assert (model.freed, model.sizes) == (1, [2, 2])


def test_a_batch_that_does_not_fit_twice_is_tried_one_by_one() -> None:
    model = WholeBatch(OutOfMemoryError("full"), OutOfMemoryError("full"), [answer(1)], [answer(2)])
    assert scores(run_batch(model, works(1, 2))) == [1, 2]


def test_canceled_ends_the_whole_batch() -> None:
    with pytest.raises(Canceled):
        run_batch(WholeBatch(Canceled("gone")), works(1, 2))


def test_stages_get_what_was_prepared() -> None:
    model = InStages(config())
    batch = works(1, 2)
    for work in batch:
        work.prepared = model.preprocess(work.input)  # type: ignore[arg-type]  # works() makes this type
    assert run_batch(model, batch) == [2, 4]
    assert model.batches == [2]


def test_a_valid_answer_passes_the_check() -> None:
    assert checked(Answering(config()), answer(0.5)).model_dump()["scores"]["values"] == [0.5]


@pytest.mark.parametrize("output", [None, {"masks": []}, "text", CompressedRLE(size=[1, 1], counts=[1])])
def test_an_answer_of_another_type_is_the_models_failure(output: Any) -> None:
    with pytest.raises(ModelFailed, match="not its output type"):
        checked(Answering(config()), output)


def test_an_answer_with_a_broken_field_is_the_models_failure() -> None:
    output = answer()
    output.masks = "none"  # type: ignore[assignment]  # what a careless model does
    with pytest.raises(ModelFailed, match="not valid"):
        checked(Answering(config()), output)


def test_callers_see_errors_meant_for_them_and_nothing_of_the_others() -> None:
    model = Answering(config())
    meant = InvalidInput("too many boxes")
    assert public_error(model, meant) is meant
    hidden = public_error(model, RuntimeError("/secret/path"))
    assert isinstance(hidden, ModelFailed)
    assert "secret" not in hidden.message
