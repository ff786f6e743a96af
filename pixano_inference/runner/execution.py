"""Calling the model: answers are checked, one bad request fails alone, a full GPU gets a second try."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from pixano_inference.errors import Canceled, ModelFailed, PixanoError
from pixano_inference.models.base import InferenceModel
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.schemas import Schema

from .work import Work

logger = logging.getLogger(__name__)


def checked(model: InferenceModel[Any, Any], output: Any) -> Schema:
    """Return the answer if it is a valid one of the model's capability.

    Raises:
        ModelFailed: It is not; the log says what it was.
    """
    expected = model.output_class
    if not isinstance(output, expected):
        logger.error("model %s answered %s instead of %s", model.model_name, type(output).__name__, expected.__name__)
        raise ModelFailed("the model answered something that is not its output type")
    try:
        # nested schemas were checked when they were made; attributes may have been set since
        return expected.model_validate({name: getattr(output, name, None) for name in expected.model_fields})
    except ValidationError as error:
        logger.error("model %s answered an invalid %s: %s", model.model_name, expected.__name__, error)
        raise ModelFailed("the model's answer is not valid") from None


def public_error(model: InferenceModel[Any, Any], error: BaseException) -> PixanoError:
    """Return what a caller may see of an error; a model's own words stay in the log."""
    if isinstance(error, PixanoError):
        return error
    logger.error("model %s failed", model.model_name, exc_info=error)
    return ModelFailed("the model failed on this request")


def _is_out_of_memory(error: BaseException) -> bool:
    # by name: this module serves models that never import torch
    return type(error).__name__ == "OutOfMemoryError"


def run_batch(model: InferenceModel[Any, Any], batch: Sequence[Work]) -> list[Any]:
    """Run a batch through the model, in the model's thread; one result or exception per request.

    When the call for several requests raises, each is tried alone, so that one bad request fails alone.
    """
    call: Callable[[Sequence[Work]], list[Any]]
    if isinstance(model, PipelinedModel):
        pipelined = model

        def call(items: Sequence[Work]) -> list[Any]:
            return pipelined.infer_batch([work.prepared for work in items])
    else:

        def call(items: Sequence[Work]) -> list[Any]:
            return list(model.predict_batch([work.input for work in items]))

    try:
        return _with_second_try(model, call, batch)
    except Canceled:
        raise
    except Exception as error:  # a model may raise anything; each request is tried alone
        if len(batch) == 1:
            return [error]
        logger.warning(
            "a batch of %d failed on model %s; trying each alone", len(batch), model.model_name, exc_info=error
        )
    results: list[Any] = []
    for work in batch:
        try:
            alone = call([work])
            results.extend(
                alone if len(alone) == 1 else [ModelFailed(f"the model answered {len(alone)} results for 1 request")]
            )
        except Exception as error:  # its request's own: logged, and answered, where the request is
            results.append(error)
    return results


def _with_second_try(
    model: InferenceModel[Any, Any], call: Callable[[Sequence[Work]], list[Any]], batch: Sequence[Work]
) -> list[Any]:
    try:
        return call(batch)
    except Exception as error:  # the error is torch's, which is not imported here
        if not _is_out_of_memory(error):
            raise
        logger.warning("model %s is out of GPU memory; dropping its caches and trying once more", model.model_name)
    model.free_memory()
    return call(batch)
