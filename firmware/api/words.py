"""An update in the words of its device's owner. Pure."""

from typing import NamedTuple

from firmware.states import UpdateState, Waiting

U, W = UpdateState, Waiting


class Words(NamedTuple):
    """What is said of an update."""

    text: str
    """A sentence that ends the heading `Update to 1.4.2: …`."""
    tone: str
    """info, warning, good, bad or none: its colour."""
    over: bool
    moves: bool = False
    """Something happens on the device; otherwise it waits."""


_WAITS = {
    W.STAGE: "its turn has not come yet",
    W.OFFLINE: "will be offered when it comes online",
    W.WINDOW: "waits for its maintenance window",
    W.PACING: "will be offered within minutes",
    W.BUSY: "waits for another update to end",
    W.POWER: "waits for enough power",
    W.SPACE: "waits for free space",
    W.CONSENT: "waits for somebody's consent at the device",
    W.APPROVAL: "waits for an approval",
}
_MOVES = {
    U.NOTIFIED: "offered, about to begin",
    U.DOWNLOADING: "downloading",
    U.DOWNLOADED: "downloaded, about to install",
    U.INSTALLING: "installing",
    U.REBOOTING: "restarting",
    U.VERIFYING: "installed, being watched",
}
_ENDS = {
    U.SUCCEEDED: ("installed", "good"),
    U.FAILED: ("failed", "bad"),
    U.TIMED_OUT: ("failed: the device did not answer in time", "bad"),
    U.CANCELED: ("called off", "none"),
    U.REMOVED: ("called off", "none"),
    U.REJECTED: ("the device did not take it", "warning"),
    U.SKIPPED: ("not needed", "none"),
}
_WHY = {
    "already_installed": "was installed already",
    "superseded": "called off, a newer one came",
    "version_blocked": "left out: it failed on this device before",
    "penalty_box": "left out: updates failed on this device before",
    "offline": "left out: the device was away all the time",
    "unresponsive": "called off: the device did nothing with it",
    "elsewhere": "not needed: the device runs another version by now",
    "incompatible": "left out: not made for what this device runs",
    "anti_rollback": "not needed: the device runs a newer version",
    "battery": "the device did not take it: its battery is too low",
    "no_space": "the device did not take it: too little free space",
    "signature": "failed: the file's signature is not good",
    "hash": "failed: the file was damaged on its way",
    "boot_failed": "failed: the new version did not start",
    "self_check": "failed: the new version did not pass its self-check",
}


def of(state: str, waiting: str = "", reason_code: str = "", progress: int | None = None, before: str = "") -> Words:
    """What to say. `before`: the version it ran when it was offered, which it has again after ROLLED_BACK."""
    where = UpdateState(state)
    if where is U.ROLLED_BACK:
        return Words(f"was taken back to {before}" if before else "was taken back", "warning", True)
    if where in _ENDS:
        text, tone = _ENDS[where]
        return Words(text if where is U.SUCCEEDED else _WHY.get(reason_code, text), tone, True)
    if waiting in _WAITS:
        return Words(_WAITS[Waiting(waiting)], "warning" if waiting in (W.POWER, W.SPACE) else "none", False)
    if where is U.DOWNLOADING and progress is not None:
        return Words(f"downloading {progress} %", "info", False, True)
    return Words(_MOVES.get(where, "is being offered"), "info", False, True)
