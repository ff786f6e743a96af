"""The client remembers a bounded number of images."""

from pixano_inference.client.known_images import KnownImages


def test_the_image_unused_for_longest_is_forgotten() -> None:
    known = KnownImages(capacity=2)
    known.add("a")
    known.add("b")
    assert "a" in known
    known.add("c")
    assert ("a" in known, "b" in known, "c" in known) == (True, False, True)
    assert len(known) == 2


def test_nothing_is_known_to_a_server_without_digests() -> None:
    known = KnownImages()
    known.add("a")
    known.supported = False
    assert "a" not in known
