"""Authorities for the tests, and a PKCS#11 token: Debian's SoftHSM, its objects in a folder of this process."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from django.utils import timezone

from devices import authorities
from devices.models import Authority
from tests.devices import ways

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
LABEL, PIN = "fleet-tests", "correct-horse-71"


@pytest.fixture(scope="session")
def token_folder(tmp_path_factory):
    """The folder of the initialised token. The library reads its configuration once, so it is one for the process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "so-" + PIN],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "tokens"


@pytest.fixture
def token(settings, token_folder):
    """Settings that describe the token. New keys are still made in files."""
    settings.PKCS11_MODULE, settings.PKCS11_TOKEN, settings.PKCS11_PIN = MODULE, LABEL, PIN
    return token_folder


@contextlib.contextmanager
def away(folder: Path):
    """The token is not there, and comes back."""
    folder.rename(folder.with_name("away"))
    try:
        yield
    finally:
        folder.with_name("away").rename(folder)


@pytest.fixture
def fresh_ca(db, settings, tmp_path):
    """A CA of the one-command kind with all its files in the test's own folder, which it is."""
    settings.CA_DIRECTORY, settings.BROKER_DIRECTORY = tmp_path / "ca", tmp_path / "broker"
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    authorities.make_all(timezone.now())
    return tmp_path


@pytest.fixture
def broker_folder(ca, settings, tmp_path):
    """An empty folder for the broker's files."""
    settings.BROKER_DIRECTORY = tmp_path / "broker"
    return settings.BROKER_DIRECTORY


@pytest.fixture(params=[ways.Json, ways.Est])
def way(request, https_door):
    """Each way to a certificate over HTTPS."""
    return request.param(https_door)
