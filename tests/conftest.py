"""Fixtures all tests share. The real servers come from tests/servers.py."""

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from devices import authorities, broker, registry
from devices.models import Authority
from fleetportal.embedded import mosquitto
from fleetportal.embedded.program import running
from telemetry.tables import partitions
from tests import servers
from tests.devices import https_door as https
from tests.factories import put_back


def pytest_collection_modifyitems(items):
    """Whole portals first: they take minutes, mostly waiting, and nothing should wait for them alone at the end."""
    items.sort(key=lambda item: "e2e" not in item.keywords)


@pytest.fixture(scope="session")
def _authorities(django_db_setup, django_db_blocker):
    """Made once in a process: keys on disk, rows in its database."""
    with django_db_blocker.unblock():
        authorities.make_all(timezone.now())
        broker.write_all(timezone.now())
        partitions.make_ahead(timezone.now())
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE devices_event")  # what making them left as evidence is no test's business
        return list(Authority.objects.order_by("pk"))


@pytest.fixture(autouse=True)
def _fast_passwords(settings):
    """A hash that is slow on purpose would take most of the tests' time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _no_readings_left(request):
    """Django empties the tables it made; those of readings and rollups, which SQL made, are emptied here."""
    marker = request.node.get_closest_marker("django_db")
    committing = (marker and marker.kwargs.get("transaction")) or "transactional_db" in request.fixturenames
    if committing:
        request.getfixturevalue("transactional_db")
    yield
    if committing:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE telemetry_reading, telemetry_minute, telemetry_hour")


@pytest.fixture
def ca(db, _authorities):
    """The certificate authorities; put back where an emptied database lost them."""
    put_back(_authorities)
    return authorities.signer()


@pytest.fixture
def days(db):
    """Partitions around today."""
    partitions.make_ahead(timezone.now())


@pytest.fixture(scope="session")
def mosquitto_server(_authorities):
    """The broker with mutual TLS, as in production, trusting this process's CA."""
    url_port = int(settings.MQTT_URL.rsplit(":", 1)[1])
    program = mosquitto.server(servers.HERE, settings.DEVICE_MQTT_PORT, url_port, servers.PASSWORD)
    with running(program, servers.HERE.own_folder("log")):
        yield program


@pytest.fixture(scope="session")
def https_door(_authorities, tmp_path_factory):
    """The devices' HTTPS door as a process. Tests that use it commit: `django_db(transaction=True)` and `ca`."""
    with https.opened(tmp_path_factory.mktemp("https-door") / "log") as door:
        yield door


@pytest.fixture(autouse=True)
def _clean_cache():
    """No test sees another's cached tiles or sign-in failures."""
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def _nobody_remembered():
    """No test sees another's devices in memory."""
    yield
    registry.forget_all()
