"""Float arrays: flat on the wire, never a Python list before someone asks."""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pydantic import ValidationError

from pixano_inference.schemas import NDArrayFloat

arrays = st_numpy.arrays(
    np.float32,
    st_numpy.array_shapes(min_dims=0, max_dims=4, max_side=4),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(arrays)
def test_an_array_comes_back_as_it_went(array: npt.NDArray[np.float32]) -> None:
    sent = NDArrayFloat.from_numpy(array)
    assert sent.shape == list(array.shape)
    received = NDArrayFloat.model_validate_json(sent.model_dump_json())
    np.testing.assert_array_equal(received.to_numpy(), array)
    assert received.to_numpy().shape == array.shape
    assert received.to_numpy().dtype == np.float32
    assert received == sent


def test_the_list_is_made_when_asked_for() -> None:
    lazy = NDArrayFloat.from_numpy(np.arange(6, dtype=np.float64).reshape(2, 3))
    assert "values" not in lazy.__dict__
    lazy.to_numpy()
    assert "values" not in lazy.__dict__
    assert lazy.values == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert lazy.model_dump() == {"values": lazy.values, "shape": [2, 3]}


def test_rows_come_first_whatever_the_memory_layout() -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    assert NDArrayFloat.from_numpy(array).values == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert NDArrayFloat.from_numpy(array.T).values == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]


def test_equality_is_about_shape_and_values() -> None:
    one = NDArrayFloat.from_numpy(np.ones((2, 3)))
    assert one == NDArrayFloat(values=[1.0] * 6, shape=[2, 3])
    assert one != NDArrayFloat(values=[1.0] * 6, shape=[3, 2])
    assert one != NDArrayFloat(values=[1.0] * 5 + [2.0], shape=[2, 3])
    assert one != "array"


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([1.0], [2]),
        ([], [0]),
        ([1.0], [-1, -1]),
        ([1.0], [2**64]),
        ([1.0], [2**64] * 500),
        ([], []),
        ([math.nan], [1]),
        ([math.inf], [1]),
        ([1e39], [1]),  # finite, but not as float32
        ([None], [1]),
        ([[1.0]], [1]),
        (["x"], [1]),
        ([1.0], [1.5]),
        ([1.0], None),
        (None, [1]),
        ("1.0", [1]),
    ],
)
def test_what_is_no_array_is_refused(values: Any, shape: Any) -> None:
    with pytest.raises(ValidationError):
        NDArrayFloat.model_validate({"values": values, "shape": shape})


def test_nan_in_json_is_refused() -> None:
    with pytest.raises(ValidationError):
        NDArrayFloat.model_validate_json('{"values": [NaN], "shape": [1]}')


def test_the_largest_float32_is_accepted() -> None:
    largest = float(np.finfo(np.float32).max)
    assert NDArrayFloat(values=[largest, -largest], shape=[2]).to_numpy().tolist() == [largest, -largest]


def test_lax_numbers_are_accepted() -> None:
    array = NDArrayFloat.model_validate(json.loads('{"values": ["1.5", 2], "shape": ["2", 1.0], "later": 0}'))
    assert array.to_numpy().tolist() == [[1.5], [2.0]]


def test_an_empty_axis_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="empty axis"):
        NDArrayFloat.from_numpy(np.zeros((2, 0)))


def test_a_copy_keeps_the_array() -> None:
    lazy = NDArrayFloat.from_numpy(np.ones(3))
    assert lazy.model_copy(deep=True) == lazy
