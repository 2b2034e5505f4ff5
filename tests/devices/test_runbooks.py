"""The runbooks' commands, as they are written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from devices import authorities
from devices.models import Authority, Event
from tests.devices.test_ceremony import BARE, PASSPHRASE, talk

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
OURS = ("ca-expiry", "lost-ca-key", "crl-expiry")
ASKED = [("Passphrase of the root: ", PASSPHRASE), ("The same again: ", PASSPHRASE)]


def blocks(name):
    """(kind, commands) of a page's code blocks, in their order; a block's indentation is that of its list."""
    page = (ROOT / "docs" / f"{name}.md").read_text()
    found = re.findall(r"^( *)```sh ?([a-z-]*)\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    return [(kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


@pytest.fixture
def environments(transactional_db, settings, tmp_path):
    """Of the portal and of the offline machine, which has neither settings nor database."""
    settings.CA_DIRECTORY, settings.BROKER_DIRECTORY = tmp_path / "ca", tmp_path / "broker"
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    stick, python = tmp_path / "stick", tmp_path / "bin"
    stick.mkdir()
    python.mkdir()
    (python / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore "$@"\n')
    (python / "python").chmod(0o755)
    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    common = {"PATH": f"{python}:{BARE['PATH']}", "STICK": str(stick)}
    portal = os.environ | common | {
        "DATABASE_URL": f"{server}/{connection.settings_dict['NAME']}",
        "CA_DIRECTORY": str(settings.CA_DIRECTORY),
        "BROKER_DIRECTORY": str(settings.BROKER_DIRECTORY),
    }  # fmt: skip
    return {"": portal, "root-here": portal, "offline": common | {"ROOT_DIR": str(tmp_path / "root")}}


def run(kind, commands, environments):
    """Carry out a block. Returns what it said; the offline machine's questions are answered."""
    if kind == "offline":
        answers = list(ASKED) if "ceremony root" in commands else []
        answers += [ASKED[0], ("[y/N] ", "y")] if "ceremony sign" in commands else []
        status, said = talk(["bash", "-euc", commands], answers, environments[kind])
    else:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, env=environments[kind],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        status, said = done.returncode, done.stdout
    assert status == 0, f"{commands}\n{said}"
    return said


def test_a_second_issuing_ca_as_the_runbook_says(environments, settings):
    authorities.make_all(timezone.now())
    said = [run(kind, commands, environments) for kind, commands in blocks("runbooks/ca-expiry")]
    by_name = {row.name: row for row in Authority.objects.all()}
    assert {name: (row.kind, row.key_backend, row.active) for name, row in by_name.items()} == {
        "Fleetportal device root": ("root", "file", True),
        "Fleetportal issuing CA 1": ("issuing", "file", False),
        "Fleetportal claim root": ("claim", "file", True),
        "Issuing CA 2": ("issuing", "file", True),
        "Offline root": ("root", "none", False),
        "Issuing CA 3": ("issuing", "file", False),
    }
    signer = authorities.signer()
    signer.certificate.verify_directly_issued_by(authorities.parsed(by_name["Offline root"]))
    assert signer.key.public_key() == signer.certificate.public_key()
    told = Event.objects.filter(kind__startswith="authority.").order_by("pk").values_list("kind", flat=True)
    assert list(told)[3:] == [
        "authority.requested", "authority.made", "authority.made", "authority.made", "authority.activated",
    ]  # fmt: skip
    assert (settings.BROKER_DIRECTORY / "crl.pem").read_text().count("BEGIN X509 CRL") == 3
    fingerprint = re.search(r"key SHA-256 (\w{64})", said[1]).group(1)
    assert fingerprint in said[3], "what two people compare is shown on both sides"
    assert not any(PASSPHRASE in each for each in said)


def test_a_portal_begins_with_an_offline_root_as_the_page_says(environments):
    said = [run(kind, commands, environments) for kind, commands in blocks("ca")]
    assert sorted(Authority.objects.values_list("kind", "name", "key_backend", "active")) == [
        ("claim", "Fleetportal claim root", "file", True),
        ("issuing", "Issuing CA 1", "file", True),
        ("root", "Device root", "none", True),
    ]
    assert "It issues from now on" in said[-1]


@pytest.mark.chaos
@pytest.mark.parametrize("name", ["lost-ca-key", "crl-expiry"])
def test_the_other_runbooks_commands_work_beside_a_second_ca(environments, name, settings):
    authorities.make_all(timezone.now())
    call_command("make_ca", "issuing", "--name", "second")
    call_command("make_ca", "activate", "second")
    said = "".join(run(kind, commands, environments) for kind, commands in blocks(f"runbooks/{name}"))
    assert "revocation list of" in said
    if name == "lost-ca-key":
        first = Authority.objects.get(name="Fleetportal issuing CA 1")
        assert (first.key_backend, first.active) == ("none", False)
        assert (settings.BROKER_DIRECTORY / "crl.pem").read_text().count("BEGIN X509 CRL") == 1, "withdrawn"
    else:
        assert (settings.BROKER_DIRECTORY / "crl.pem").read_text().count("BEGIN X509 CRL") == 2


@pytest.mark.parametrize("name", OURS)
def test_a_runbook_is_a_page_and_says_all_that_is_needed_at_three_in_the_morning(name):
    page = (RUNBOOKS / f"{name}.md").read_text()
    parts = ["**Symptom.**", "**At stake.**", "## Check", "## Do", "## Verify", "## Afterwards"]
    assert [part for part in parts if part not in page] == []
    assert len(page.splitlines()) <= 100
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert [link for link in links if not (RUNBOOKS / link).exists()] == []
