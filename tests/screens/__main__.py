"""`python -m tests.screens [--var DIR] [NAME…]`; `--index` only writes docs/screens/README.md."""

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.chromium import chromium
from tests.screens import demo, gallery
from tests.screens.camera import OUT, Camera, Story


def main(arguments: list[str]) -> int:
    """Take them. Returns how many stories went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.screens", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="pictures; their whole stories are taken")
    parser.add_argument("--var", type=Path, help="of a demo that runs already; without it, one is started")
    parser.add_argument("--index", action="store_true", help="only write the index of the pictures")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(gallery.names()):
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    (OUT / "README.md").write_text(gallery.index())
    if asked.index:
        return 0
    wanted = [story for story in gallery.STORIES if not asked.names or set(asked.names) & set(story.pictures)]
    wrong = 0
    with (
        demo.own() if asked.var is None else nullcontext(demo.Found(asked.var)) as fleet,
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
    ):
        kept = Path(folder) if asked.var is None else asked.var
        camera = Camera(browser, fleet, Path(folder), demo.staged(fleet, kept))
        for story in wanted:
            wrong += not played(story, camera)
    if not asked.names and not wrong:
        for path in OUT.glob("*.png"):
            if path.stem not in camera.taken:
                path.unlink()
    return wrong


def played(story: Story, camera: Camera) -> bool:
    """Take the pictures of a story. False when one is missing; the other stories are still worth having."""
    began = time.monotonic()
    try:
        story.play(camera)
    except Exception as error:
        print(f"{story.title}: {error}", file=sys.stderr)
    missing = sorted(set(story.pictures) - camera.taken)
    said = f", NOT taken: {', '.join(missing)}" if missing else ""
    print(f"{story.title}: {time.monotonic() - began:.0f} s{said}", flush=True)
    return not missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
