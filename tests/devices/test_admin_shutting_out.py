"""One press of a button is one task, whatever becomes of the queue and of the rows in between."""

import ast

import pytest
from celery import current_app
from django.contrib.messages import get_messages
from django.utils.timezone import now
from kombu import Connection
from kombu.pools import producers

from devices import cutoffs, lifecycle
from devices.admin.shutting_out import QUEUE_AWAY
from devices.models import Certificate, Device
from tests.devices import peers
from tests.devices.desk import Desk, queued, said, url
from tests.factories import DeviceFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    queued()
    return Desk(client, django_capture_on_commit_callbacks, "Security officer")


@pytest.fixture
def queue_away(monkeypatch):
    """Tasks are sent to where nobody listens."""
    monkeypatch.setattr(current_app.amqp, "_producer_pool", producers[Connection("redis://127.0.0.1:1/0")])


def ids(rows):
    return [row.device_id for row in rows]


def in_list_order(devices):
    return sorted(devices, key=lambda device: (device.name, device.device_id))


class TestABulk:
    def test_of_devices_is_one_task(self, desk):
        devices = [DeviceFactory() for _ in range(60)]
        desk.act("device", "quarantine", *devices, reason="odd")
        assert queued() == [("devices.tasks.shut_out", f"({ids(in_list_order(devices))},)")]

    def test_of_certificates_is_one_task_and_tells_each_device_once(self, desk, tmp_path):
        names = sorted(peers.enrolled(tmp_path).device_id for _ in range(3))
        desk.act("certificate", "revoke", *Certificate.objects.filter(device__device_id__in=names), reason="stolen")
        ((task, told),) = queued()
        assert task == "devices.tasks.shut_out"
        assert sorted(ast.literal_eval(told)[0]) == names

    def test_that_breaks_in_the_middle_shuts_out_those_before(self, desk, monkeypatch):
        first, second = in_list_order([DeviceFactory(), DeviceFactory()])
        real = lifecycle.quarantine

        def breaks_at_the_second(device, reason, user):
            if device == second:
                raise ConnectionError("the database went away")
            return real(device, reason, user)

        monkeypatch.setattr(lifecycle, "quarantine", breaks_at_the_second)
        with pytest.raises(ConnectionError):
            desk.act("device", "quarantine", first, second, reason="odd")
        assert Device.objects.get(pk=first.pk).state == "quarantined"
        assert queued() == [("devices.tasks.shut_out", f"(['{first.device_id}'],)")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("queue_away", "ca")
class TestWithoutTheQueue:
    @pytest.fixture
    def officer(self, client):
        client.force_login(world.staff("Security officer"))
        return client

    def test_everything_is_decided_staff_are_told_and_it_is_found_again(self, officer):
        devices = [DeviceFactory() for _ in range(3)]
        data = {"action": "quarantine", "_selected_action": [each.pk for each in devices], "reason": "odd"}
        response = officer.post(url("device", "changelist"), data)
        assert said(response) == f"{QUEUE_AWAY} Quarantine: 3 done."
        assert next(each.level_tag for each in get_messages(response.wsgi_request)) == "warning"
        assert set(Device.objects.values_list("state", flat=True)) == {"quarantined"}
        assert {each.device for each in cutoffs.pending(now())} == set(devices)

    def test_a_replacement_too(self, officer):
        device = DeviceFactory()
        response = officer.post(url("device", "replace", device.pk), {"hardware_id": "hw-new", "reason": "RMA"})
        assert QUEUE_AWAY in said(response)
        assert "took the place of" in said(response)
        kinds = {each.kind for each in cutoffs.pending(now(), [device.device_id])}
        assert kinds == {"device.replaced", "device.decommissioned"}
