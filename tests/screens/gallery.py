"""All pictures, in the order in which they are taken, and their index."""

from tests.screens import accounts, apps, customers, firmware, staff
from tests.screens.camera import Story

STORIES: list[Story] = [
    firmware.ROLL_OUT,
    customers.PAGES,
    customers.SAVED,
    customers.EXPORTS,
    customers.SOLD,
    customers.ERRORS,
    accounts.ENTRANCE,
    accounts.FORGOTTEN,
    accounts.TEAM,
    accounts.FACTORS,
    apps.APPS,
    firmware.TAKE_BACK,
    staff.DEVICES,
    staff.IMPORT,
    staff.BULK,
    staff.VIEWS,
    staff.PAGES,
    staff.STOPPED,
]


def names() -> list[str]:
    """Of all pictures. Raises ValueError when two have the same."""
    found = [name for story in STORIES for name in story.pictures]
    if len(found) != len(set(found)):
        raise ValueError(f"twice: {sorted({name for name in found if found.count(name) > 1})}")
    return found


def index() -> str:
    """docs/screens/README.md."""
    parts = [
        "# The portal in pictures",
        "All of them from a demo (`make run`), taken by `python -m tests.screens`, which also writes this page.\n"
        "`-phone`: 390 pixels wide; `-dark`: in the dark; without either, a desk in the light.\n"
        "Long pages are cut off below.",
    ]
    for story in STORIES:
        rows = [f"| [{name}]({name}.png) | {says} |" for name, says in story.pictures.items()]
        parts.append("\n".join([f"## {story.title}", "", "| picture | what it shows |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"
