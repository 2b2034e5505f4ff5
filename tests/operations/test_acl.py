import pytest

from devices import contract
from devices.auditing import CRITICAL, WARNING
from operations import acl

QUARANTINED = [line for name in ("d-1", "d-2") for line in ("", *contract.quarantine_acl(name))]
OURS = "\n".join([*contract.acl_patterns(), *QUARANTINED, ""])


def judged(*lines):
    """Lines at the end of our own, each with its severity."""
    return [(found.line, found.severity) for found in acl.foreign(OURS + "\n".join(lines))]


def test_what_the_portal_writes_is_no_finding():
    assert list(acl.foreign(OURS)) == []
    assert judged("# a comment", "", "   ") == []


@pytest.mark.parametrize(
    "line",
    [
        "topic readwrite #",
        "topic #",
        "topic read $SYS/#",
        "topic read /+/+/+/telemetry",
        "topic write /t/y/d-9/cmd",
        "pattern readwrite #",
        "pattern read /+/+/+/telemetry",
        "pattern #",
        "pattern write /#/%u",
        "something else",
    ],
)
def test_a_line_that_opens_anothers_topics_is_critical(line):
    assert judged(line) == [(line, CRITICAL)]


@pytest.mark.parametrize(
    "line", ["pattern read /+/+/%u/#", "topic deny /+/+/d-9/cmd", "pattern readwrite other/%u", "topic /+/+/d-2/#"]
)
def test_a_line_that_opens_nothing_of_others_is_still_not_ours(line):
    assert judged(line) == [(line, WARNING)]


def test_a_line_of_anothers_quarantine_is_not_ours():
    line = contract.quarantine_acl("d-1")[-1]
    assert judged("user d-7", line) == [(line, WARNING)]


def test_a_user_section_that_opens_everything_is_critical():
    assert judged("user d-7", "topic readwrite #") == [("topic readwrite #", CRITICAL)]
    assert judged("user Portal", "topic deny #") == [("user Portal", WARNING), ("topic deny #", WARNING)]


def test_the_line_number_is_that_of_the_file():
    assert [found.number for found in acl.foreign("# one\n\ntopic #\n")] == [3]
