"""Lines come out whole, however the network has cut them."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixano_inference.client.errors import RequestFailed
from pixano_inference.client.streams import EventDecoder, text_of

END = b'{"done": true, "processing_time": 1.5}\n'


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=6), st.lists(st.integers(0, 200), max_size=8))
def test_cuts_do_not_matter(texts: list[str], cuts: list[int]) -> None:
    body = b"".join(json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in texts) + b"\n" + END
    edges = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    decoder = EventDecoder(text_of)
    got = [item for a, b in pairwise(edges) for item in decoder.feed(body[a:b])]
    decoder.finish()
    assert got == texts
    assert decoder.end is not None
    assert decoder.end.processing_time == 1.5


def test_items_before_an_error_come_first() -> None:
    decoder = EventDecoder(text_of)
    items = decoder.feed(b'{"text": "a"}\n{"error": {"detail": "no", "status": 504}}\n')
    assert next(items) == "a"
    with pytest.raises(RequestFailed, match="504: no"):
        next(items)


@pytest.mark.parametrize("body", [b"", b'{"text": "a"}\n', b'{"done": true', b'{"done": false, "text": "a"}\n'])
def test_a_stream_without_its_last_line_has_broken_off(body: bytes) -> None:
    decoder = EventDecoder(text_of)
    list(decoder.feed(body))
    with pytest.raises(RequestFailed, match="broke off"):
        decoder.finish()
