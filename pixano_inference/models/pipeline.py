"""Models whose work before and after the accelerator runs beside it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pixano_inference.errors import Canceled

from .base import InferenceModel, InputT, OutputT


class PipelinedModel(InferenceModel[InputT, OutputT]):
    """A model in three stages: the runner overlaps them across requests.

    ``preprocess`` and ``postprocess`` run in worker threads, several at a time; ``infer_batch`` runs alone in the
    model's thread. An image is decoded and a mask compressed while the model works on other requests.
    """

    @abstractmethod
    def preprocess(self, input: InputT) -> Any:
        """Turn a request into what :meth:`infer_batch` takes. Thread-safe; no accelerator work."""

    @abstractmethod
    def infer_batch(self, prepared: Sequence[Any]) -> list[Any]:
        """Run the model; one result, or an exception, per item in the same order."""

    @abstractmethod
    def postprocess(self, raw: Any) -> OutputT:
        """Turn a result into an answer. Thread-safe; no accelerator work."""

    def predict(self, input: InputT) -> OutputT:
        """Answer one request, the stages one after another."""
        result = self.predict_batch([input])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def predict_batch(self, inputs: Sequence[InputT]) -> list[OutputT | Exception]:
        """Answer several requests, the stages one after another."""
        results: list[OutputT | Exception] = [RuntimeError("not answered")] * len(inputs)
        prepared: list[tuple[int, Any]] = []
        for index, item in enumerate(inputs):
            try:
                prepared.append((index, self.preprocess(item)))
            except Canceled:
                raise
            except Exception as error:  # one bad request fails alone
                results[index] = error
        raws = self.infer_batch([item for _, item in prepared]) if prepared else []
        for (index, _), raw in zip(prepared, raws, strict=True):
            try:
                results[index] = raw if isinstance(raw, Exception) else self.postprocess(raw)
            except Canceled:
                raise
            except Exception as error:  # one bad request fails alone
                results[index] = error
        return results
