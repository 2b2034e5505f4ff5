"""The pictures in docs/screens: all that tests/screens names, no others, each light enough for a page."""

import re
import struct
from pathlib import Path

from tests.screens import gallery
from tests.screens.camera import OUT, PHONE, TALLEST, WIDE

README = OUT.parent.parent / "README.md"
HEAVIEST = 400_000


def pictures() -> dict[str, Path]:
    return {path.stem: path for path in OUT.glob("*.png")}


def test_each_picture_is_named_and_each_name_has_a_picture():
    assert set(pictures()) == set(gallery.names()), "python -m tests.screens"
    assert {path.suffix for path in OUT.iterdir()} == {".png", ".md"}


def test_the_index_is_that_of_the_stories():
    assert (OUT / "README.md").read_text() == gallery.index(), "python -m tests.screens --index"


def test_the_readme_shows_pictures_that_are_there():
    shown = re.findall(r"!\[[^\]]+\]\(docs/screens/([a-z0-9-]+)\.png\)", README.read_text())
    assert len(shown) >= 2
    assert set(shown) <= set(pictures())


def test_pictures_are_of_the_size_that_their_names_say_and_light():
    wrong = {}
    for name, path in pictures().items():
        head = path.read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:24])
        wide = (PHONE if "-phone" in name else WIDE)["width"]
        if head[:8] != b"\x89PNG\r\n\x1a\n" or width != wide or height > TALLEST or path.stat().st_size > HEAVIEST:
            wrong[name] = (width, height, path.stat().st_size)
    assert wrong == {}


def test_names_say_page_and_look():
    """`-phone` before `-dark`, both at the end: the camera goes by them."""
    look = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*?(-phone)?(-dark)?")
    odd = [name for name in gallery.names() if not look.fullmatch(name) or re.search(r"-dark.|-phone-(?!dark$)", name)]
    assert odd == []
