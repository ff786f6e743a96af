"""Media cross once; a wrong guess of what the runner still has costs one round trip, never an answer."""

from __future__ import annotations

from typing import Any

import pytest

from pixano_inference.errors import NotFound
from pixano_inference.protocol.messages import to_plain
from pixano_inference.protocol.repeated_media import FROM_BYTES, SEND_MEDIA, ReceivedMedia, SentMedia
from pixano_inference.schemas import ImageBytes, SegmentationInput, TrackingInput


def medium(letter: str, size: int = FROM_BYTES) -> ImageBytes:
    return ImageBytes(letter.encode() * size)


def click(image: ImageBytes) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(SegmentationInput(image=image, points=[[[1, 1]]], labels=[[1]]))
    return plain


def video(*frames: ImageBytes) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(
        TrackingInput(video=list(frames), objects_ids=[1], frame_indexes=[0], boxes=[[0, 0, 1, 1]])
    )
    return plain


def test_a_medium_goes_in_full_once_and_then_by_digest() -> None:
    sender, receiver = SentMedia(), ReceivedMedia(10 * FROM_BYTES)
    first = click(medium("a"))
    assert sender.shorten(first) is first
    assert receiver.complete(first) == first
    sender.remember(first)
    short = sender.shorten(first)
    assert short["image"]["data"] is None
    assert receiver.complete(short) == first


def test_frames_of_a_video_are_media_each() -> None:
    sender, receiver = SentMedia(), ReceivedMedia(10 * FROM_BYTES)
    before = video(medium("a"), medium("b"))
    receiver.complete(before)
    sender.remember(before)
    after = video(medium("b"), medium("c"))
    short = sender.shorten(after)
    assert [frame["data"] is None for frame in short["video"]] == [True, False]
    assert receiver.complete(short) == after


def test_small_media_are_always_sent() -> None:
    sender = SentMedia()
    small = click(medium("a", FROM_BYTES - 1))
    sender.remember(small)
    assert sender.shorten(small) is small


def test_the_receiver_asks_for_what_it_has_dropped() -> None:
    sender, receiver = SentMedia(), ReceivedMedia(4 * FROM_BYTES)
    messages = [click(medium(letter)) for letter in "abcde"]
    for message in messages:
        receiver.complete(message)
        sender.remember(message)
    with pytest.raises(NotFound) as asked:
        receiver.complete(sender.shorten(messages[0]))
    assert asked.value.code == SEND_MEDIA
    assert receiver.complete(sender.shorten(messages[4])) == messages[4]


def test_what_was_used_last_is_kept() -> None:
    sender, receiver = SentMedia(), ReceivedMedia(4 * FROM_BYTES)
    messages = [click(medium(letter)) for letter in "abcd"]
    for message in messages:
        receiver.complete(message)
        sender.remember(message)
    receiver.complete(sender.shorten(messages[0]))
    receiver.complete(click(medium("e")))
    assert receiver.complete(sender.shorten(messages[0])) == messages[0]
    with pytest.raises(NotFound):
        receiver.complete(sender.shorten(messages[1]))


def test_a_medium_that_would_push_out_all_others_is_not_kept() -> None:
    receiver = ReceivedMedia(4 * FROM_BYTES)
    sender = SentMedia()
    large = click(medium("a", FROM_BYTES + 1))
    receiver.complete(large)
    sender.remember(large)
    with pytest.raises(NotFound):
        receiver.complete(sender.shorten(large))


def test_a_sender_that_forgets_sends_in_full() -> None:
    sender = SentMedia()
    message = click(medium("a"))
    sender.remember(message)
    sender.forget()
    assert sender.shorten(message) is message


def test_what_only_looks_like_a_medium_is_left_alone() -> None:
    receiver = ReceivedMedia(FROM_BYTES)
    odd: dict[str, Any] = {
        "a": {"media": "image", "digest": 3, "data": None},
        "b": {"media": 1, "digest": "x", "data": "y"},
    }
    assert receiver.complete(odd) == odd
