"""Masks survive the wire, and counts that lie are refused before anything is allocated."""

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from pixano_inference.schemas import CompressedRLE
from pixano_inference.schemas.rle import MAX_MASK_PIXELS, run_lengths

Mask = npt.NDArray[np.bool_]

masks = st_numpy.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def runs_of(mask: Mask) -> list[int]:
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat)))).tolist()
    edges = [0, *changes, flat.size]
    return [b - a for a, b in pairwise(edges)]


@given(masks)
def test_a_mask_comes_back_as_it_went(mask: Mask) -> None:
    rle = CompressedRLE.from_mask(mask)
    assert rle.size == list(mask.shape)
    np.testing.assert_array_equal(rle.to_mask(), mask)
    assert rle.area() == mask.sum()
    again = CompressedRLE.model_validate_json(rle.model_dump_json())
    assert again == rle


@given(masks)
def test_counts_are_those_of_pycocotools(mask: Mask) -> None:
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert CompressedRLE.from_mask(mask).counts == theirs["counts"].decode()
    assert run_lengths(theirs["counts"].decode()).tolist() == runs_of(mask)


@given(masks)
def test_uncompressed_counts_are_compressed(mask: Mask) -> None:
    rle = CompressedRLE.model_validate({"size": list(mask.shape), "counts": runs_of(mask)})
    assert isinstance(rle.counts, str)
    np.testing.assert_array_equal(rle.to_mask(), mask)


@pytest.mark.parametrize(
    "runs", [[0, MAX_MASK_PIXELS], [MAX_MASK_PIXELS // 2, MAX_MASK_PIXELS // 2], [MAX_MASK_PIXELS]]
)
def test_the_longest_runs_are_read(runs: list[int]) -> None:
    packed = coco_mask.frPyObjects({"size": [16384, 16384], "counts": runs}, 16384, 16384)["counts"].decode()
    assert run_lengths(packed).tolist() == runs


@given(st.text(alphabet=[chr(code) for code in range(40, 120)], max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        runs = run_lengths(text)
    except ValueError:
        return
    assert (runs >= 0).all()
    assert runs.sum() >= 0


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([2**64, 1], "0"),
        ([-2, -2], [4]),
        ([4], [4]),
        ([2, 2, 1], [4]),
        ([0, 4], []),
        ([2, 2], []),
        ([2, 2], ""),
        ([2, 2], [2**64]),
        ([2, 2], [-1, 5]),
        ([2, 2], [3]),
        ([2, 2], [5]),
        ([2, 2], [True, 3]),
        ([2, 2], ["x"]),
        ([2, 2], None),
        ([2, 2], {}),
        ([2, 2], "é"),
        ([2, 2], "\x7f"),
        ([2, 2], "P"),  # a number goes on, and the text ends
        ([2, 2], "P" * 20 + "0"),  # a number of a hundred bits
        ([2, 2], "l"),
        ([2.5, 2], [5]),
        ("22", [4]),
        (None, [4]),
        ([float("nan"), 2], [4]),
    ],
)
def test_lies_are_refused(size: Any, counts: Any) -> None:
    with pytest.raises(ValidationError):
        CompressedRLE.model_validate({"size": size, "counts": counts})


def test_runs_whose_sum_wraps_around_are_refused() -> None:
    # each number adds 2**33 to the run two before it: sums of 64 bits would come round to any size one likes
    with pytest.raises(ValidationError, match="longer than any mask"):
        CompressedRLE.model_validate({"size": [2, 2], "counts": "PPPPPP8" * 1000})


def test_a_claimed_mask_of_many_gigapixels_is_not_allocated() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValidationError):
            CompressedRLE.model_validate({"size": [100_000, 100_000], "counts": [100_000 * 100_000]})
        with pytest.raises(ValidationError):
            CompressedRLE.model_validate({"size": [100_000, 100_000], "counts": "PPPP0"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_lax_numbers_are_accepted() -> None:
    rle = CompressedRLE.model_validate({"size": ["2", 2.0], "counts": [1.0, "3"], "later": 1})
    np.testing.assert_array_equal(rle.to_mask(), [[0, 1], [1, 1]])
    assert not hasattr(rle, "later")


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 2, 2)])
def test_only_flat_masks_with_pixels_are_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="height, width"):
        CompressedRLE.from_mask(np.zeros(shape, dtype=bool))


def test_every_value_but_zero_is_foreground() -> None:
    assert CompressedRLE.from_mask(np.array([[0.0, 0.2], [-1.0, 256.0]])).area() == 3
