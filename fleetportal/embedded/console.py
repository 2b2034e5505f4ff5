"""What the one-command run tells the person who started it: a line a step, with its time, flushed at once."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fleetportal.embedded.supervisor import Interrupted

GREEN, RED, BOLD = "32", "31", "1"


class StepFailed(Exception):
    """A step of the start failed; the message names it and says why."""


def say(text: str = "", colour: str = "") -> None:
    """Print a line; in colour on a terminal only. A terminal that went away is no reason to leave servers running."""
    try:
        print(f"\033[{colour}m{text}\033[0m" if colour and sys.stdout.isatty() else text, flush=True)  # noqa: T201
    except OSError:
        return


def warn(text: str) -> None:
    """A line about something that went wrong and is being dealt with."""
    say(f"  ! {text}", RED)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say how long the block took (s). Raises StepFailed in place of what the block raised."""
    began = time.monotonic()
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        raise StepFailed(f"{name}: {error}") from error
    say(f"  {time.monotonic() - began:5.1f} s  {name}")


def summary(title: str, rows: list[tuple[str, str]]) -> None:
    """One block of names and values; a row without a name continues the one above."""
    width = max(len(name) for name, _ in rows)
    say()
    say(title, BOLD)
    for name, value in rows:
        say(f"  {name:<{width}}  {value}")
    say()
