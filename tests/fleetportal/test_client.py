"""The description is enough: a typed client made from it alone works against a portal that runs."""

import importlib
import json
import sys
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from openapi_python_client import Config, generate
from openapi_python_client.config import ConfigFile, MetaType

from devices.people import api_tokens
from devices.people.scopes import DEVICES_READ, READINGS_READ
from fleetportal.openapi.document import document
from telemetry.exporting import exports
from telemetry.store import store
from telemetry.tables import partitions
from tests.browser.serving import served
from tests.factories import DeviceFactory, SchemaFactory, member
from tests.telemetry.messages import noon, row

NAME = "made_client"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The client, as docs/api.md tells it."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "schema.json").write_text(json.dumps(document()))
    told = ConfigFile(post_hooks=[], content_type_overrides={"text/csv": "application/octet-stream"})
    config = Config.from_sources(
        config_file=told,
        meta_type=MetaType.NONE,
        document_source=folder / "schema.json",
        file_encoding="utf-8",
        overwrite=False,
        output_path=folder / NAME,
    )
    mistakes = generate(config=config)
    assert [each.detail for each in mistakes if "application/cbor" not in each.detail] == []
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"{NAME}.{name}")
    sys.path.remove(str(folder))


@pytest.fixture
def portal(transactional_db, ca):
    with served() as found:
        yield found


def test_a_program_lists_devices_reads_series_and_fetches_an_export(made, portal, ca):
    partitions.make_ahead(timezone.now())
    schema = SchemaFactory()
    device = DeviceFactory(device_type=schema.device_type, name="Cooler 12")
    DeviceFactory(name="Foreign")
    with transaction.atomic():
        store([row(device, schema, noon(), 4.5)])
    owner = member(device.tenant)
    scopes = [DEVICES_READ, READINGS_READ]
    _, token = api_tokens.make(owner, device.tenant, "client", scopes, timedelta(days=1), timezone.now())
    client = made("client").AuthenticatedClient(base_url=portal.url, token=token)

    (found,) = made("api.devices.list_devices").sync(client=client).results
    assert (found.device_id, found.name) == (device.device_id, "Cooler 12")
    one = made("api.devices.get_device").sync(device.device_id, client=client)
    assert (one.device_id, one.state) == (device.device_id, "active")

    since, until = noon() - timedelta(hours=1), noon() + timedelta(hours=1)
    told = made("api.readings.get_series").sync(
        device.device_id, client=client, since=since, until=until, metric=["temperature_c"]
    )
    assert [each for each in told.values["temperature_c"] if each is not None] == [4.5]
    assert told.metrics[0].unit == "°C"

    asked = made("models.export_request").ExportRequest(devices=[device.device_id], since=since, until=until)
    made_one = made("api.exports.create_export").sync(client=client, body=asked)
    assert (made_one.state, made_one.file_url) == ("waiting", None)
    exports.run(made_one.id)  # the jobs worker's part
    done = made("api.exports.get_export").sync(made_one.id, client=client)
    assert (done.state, done.rows) == ("done", 1)
    file = made("api.exports.get_export_file").sync(done.id, client=client)
    assert device.device_id.encode() in file.payload.read()

    problem = made("api.devices.get_device").sync("d-nobody", client=client)
    assert (problem.status, problem.error_code) == (404, "not_found")


def test_without_a_token_it_is_told_so(made, portal):
    client = made("client").Client(base_url=portal.url)
    problem = made("api.devices.list_devices").sync(client=client)
    assert (problem.status, problem.error_code) == (401, "not_authenticated")
