"""Does the broker's ACL let a device reach what is another's? Pure: reads the file as Mosquitto does.

What the portal writes is known line by line (contract.py); everything else is somebody's, and judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from devices import contract
from devices.auditing import CRITICAL, WARNING

_ACCESS = {"read", "write", "readwrite", "deny"}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A line the portal did not write."""

    number: int
    line: str
    severity: str


def foreign(text: str) -> Iterator[Foreign]:
    """Lines that are not ours: critical where they open another's topics, else a warning."""
    ours, user = set(contract.acl_patterns()), ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest.strip()
            if not contract.is_part(user):
                yield Foreign(number, line, WARNING)
        elif not (line in contract.quarantine_acl(user) if user and word == "topic" else line in ours):
            yield Foreign(number, line, _severity(word, rest.split(), user))


def _severity(word: str, words: list[str], user: str) -> str:
    """A filter is bound when one of its levels is the device's own id, before any `#`."""
    access = words[0] if words and words[0] in _ACCESS else ""
    levels = " ".join(words[1:] if access else words).split("/")
    own = "%u" if word == "pattern" else user
    bound = bool(own) and own in levels and "#" not in levels[: levels.index(own)]
    return WARNING if access == "deny" or (word in {"topic", "pattern"} and bound) else CRITICAL
