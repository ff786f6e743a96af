"""Paths in requests: only regular files below a root, and no word about anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixano_inference.errors import InvalidInput, TooLarge
from pixano_inference.media.files import MediaRoots
from tests.attacks import PATHS_OUTSIDE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "video").mkdir(parents=True)
    (root / "a.png").write_bytes(b"inside")
    (root / "with:colon.png").write_bytes(b"colon")
    for name in ("f10.png", "f9.png", "f1.PNG", "notes.txt"):
        (root / "video" / name).write_bytes(name.encode())
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "media2").mkdir()
    (tmp_path / "media2" / "b.png").write_bytes(b"sibling")
    (root / "link-in.png").symlink_to("a.png")
    (root / "link-out.png").symlink_to(tmp_path / "secret.png")
    (root / "folder-out").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo.png")
    (root / "device.png").symlink_to("/dev/zero")
    return tmp_path


def test_files_below_a_root_are_read(tree: Path) -> None:
    roots = MediaRoots([tree / "media2", tree / "media"])
    assert roots.read(str(tree / "media" / "a.png"), 100) == b"inside"
    assert roots.read("a.png", 100) == b"inside"
    assert roots.read("with:colon.png", 100) == b"colon"
    assert roots.read("video/../a.png", 100) == b"inside"
    assert roots.read("link-in.png", 100) == b"inside"
    assert roots.read("b.png", 100) == b"sibling"


@pytest.mark.parametrize("reference", PATHS_OUTSIDE)
def test_everything_else_is_refused_in_the_same_words(tree: Path, reference: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        MediaRoots([tree / "media"]).read(reference.format(tree=tree), 100, ("body", "image"))
    assert caught.value.message == "the path is not a readable file below a media root of this server"
    assert caught.value.location == ("body", "image")


def test_without_roots_no_path_is_read(tree: Path) -> None:
    with pytest.raises(InvalidInput, match="no media root is configured"):
        MediaRoots([]).read(str(tree / "media" / "a.png"), 100)


def test_a_folder_swapped_for_a_link_after_the_check_leads_nowhere(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = MediaRoots([tree / "media"])
    (tree / "media" / "sub").mkdir()
    (tree / "media" / "sub" / "secret.png").write_bytes(b"harmless")
    located = roots._locate

    def swap(reference: str, location: tuple[str | int, ...]) -> tuple[Path, tuple[str, ...]]:
        found = located(reference, location)
        (tree / "media" / "sub").rename(tree / "media" / "was-sub")
        (tree / "media" / "sub").symlink_to(tree)
        return found

    monkeypatch.setattr(roots, "_locate", swap)
    with pytest.raises(InvalidInput):
        roots.read("sub/secret.png", 100)


def test_a_file_over_the_cap_is_refused(tree: Path) -> None:
    roots = MediaRoots([tree / "media"])
    assert roots.read("a.png", 6) == b"inside"
    with pytest.raises(TooLarge):
        roots.read("a.png", 5)


def test_a_folder_is_a_video_in_natural_order(tree: Path) -> None:
    roots = MediaRoots([tree / "media"])
    assert roots.read_video("video", 1000, 10) == [b"f1.PNG", b"f9.png", b"f10.png"]
    assert roots.read_video("a.png", 1000, 10) == b"inside"
    with pytest.raises(TooLarge):
        roots.read_video("video", 1000, 2)
    with pytest.raises(TooLarge):
        roots.read_video("video", 15, 10)
    (tree / "media" / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no images"):
        roots.read_video("empty", 1000, 10)


def test_a_frame_that_leads_out_of_the_folder_is_refused(tree: Path) -> None:
    (tree / "media" / "video" / "f2.png").symlink_to(tree / "secret.png")
    with pytest.raises(InvalidInput):
        MediaRoots([tree / "media"]).read_video("video", 1000, 10)
