"""Every kind of finding has its line in docs/runbooks/README.md, and the page named there exists."""

import re
from pathlib import Path

from devices import auditing, runbooks
from tests.test_house import ROOMS, ROOT, files

PAGES = ROOT / "docs/runbooks"
_LINE = re.compile(r"^\| `(\w+)` \|.*\| (?:\[[^\]]+\]\((\S+?)(?:#\S*)?\)|—) \|$", re.MULTILINE)


def table():
    """Kind → page, "" where it has none of its own."""
    return dict(_LINE.findall((PAGES / "README.md").read_text()))


def test_the_table_is_that_of_the_code():
    assert table() == {
        kind: "" if runbooks.page(kind) == runbooks.INDEX else runbooks.page(kind) for kind in runbooks.kinds()
    }


def test_every_kind_that_is_raised_anywhere_is_in_it():
    raised = {kind for audit in auditing.audits() for kind in audit.kinds}
    for path in files(*ROOMS):
        raised |= set(re.findall(r"evidence\.find\(\s*\"(\w+)\"", path.read_text()))
    assert raised
    assert raised - set(runbooks.kinds()) == set(), "add it: devices/runbooks.py, or runbooks.add_kinds in apps.py"


def test_every_page_exists():
    assert {page for page in table().values() if page and not (PAGES / page).is_file()} == set()


def test_an_unknown_kind_leads_to_the_table():
    assert runbooks.page("no_such") == "README.md"
    assert Path(PAGES / runbooks.INDEX).is_file()
