"""A table of devices: every mistake by row and column, all or nothing, and each device with its evidence."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from devices import importing, lifecycle
from devices.errors import DeviceError
from devices.importing import Mistake, TableRefused
from devices.models import Device, Event, Group, Site
from tests.devices.desk import OTHERS, Desk
from tests.factories import DeviceFactory, DeviceTypeFactory, StaffFactory, TenantFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
HEAD = "tenant,device_type,hardware_id,name,site,tags,groups\n"
PAGE = "/admin/devices/device/import/"


@pytest.fixture
def acme():
    tenant = TenantFactory(slug="acme", name="Acme")
    DeviceTypeFactory(slug="pump", name="Pump")
    Site.objects.create(tenant=tenant, name="Harbour")
    for name in ("Pilot", "Night"):
        Group.objects.create(tenant=tenant, name=name)
    return tenant


def judged(text, user=None):
    return importing.judge(importing.read((HEAD + text).encode()), user or StaffFactory())


def mistakes(text):
    return [(each.row, each.column, each.text) for each in judged(text).mistakes]


class TestReading:
    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b"", "empty"),
            (b"\n\n", "empty"),
            (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
            (b"tenant\0", "NUL"),
            (b"tenant,device_type\nx,y\n", "missing: hardware_id"),
            (b"tenant,device_type,hardware_id,color\n", "unknown: color"),
            (b"tenant,device_type,hardware_id,tenant\na,b,c,d", "stands there twice"),
            (HEAD.encode(), "no row below"),
            (HEAD.encode() + b"a,b,c,d,e,f,g,h\n", "Row 2 has more cells"),
            (HEAD.encode() + b"a,b,c\n" * 1001, "At most 1,000 rows"),
            (b"x" * (importing.MAX_BYTES + 1), "At most 256 kB"),
            (b"PK\x03\x04\x00", "NUL"),
        ],
    )
    def test_what_is_no_table_is_said(self, data, told):
        with pytest.raises(TableRefused, match=told):
            importing.read(data)

    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    @pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
    def test_takes_what_spreadsheets_write(self, mark, begin):
        text = f"Tenant{mark}Device type{mark}Hardware id\r\nacme{mark}pump{mark} sn-1 \r\n"
        table = importing.read(begin + text.encode())
        assert table.headers == ["tenant", "device_type", "hardware_id"]
        assert list(table) == [("acme", "pump", "sn-1")]


class TestJudging:
    def test_a_right_table_becomes_rows_and_writes_nothing(self, acme):
        found = judged('acme,pump,sn-1,North door,Harbour,"beta, north",Pilot|Night\nacme,pump,sn-2,,,,\n')
        assert found.mistakes == []
        first, second = found.rows
        assert (str(first.tenant), first.hardware_id, first.name, str(first.site)) == (
            "Acme",
            "sn-1",
            "North door",
            "Harbour",
        )
        assert (first.tags, [group.name for group in first.groups]) == (["beta", "north"], ["Pilot", "Night"])
        assert (second.name, second.site, second.tags, second.groups) == ("", None, [], [])
        assert (Device.objects.count(), Event.objects.count()) == (0, 0)

    def test_every_mistake_is_told_by_row_and_column(self, acme):
        other = TenantFactory(slug="other")
        Site.objects.create(tenant=other, name="Elsewhere")
        Group.objects.create(tenant=other, name="Theirs")
        taken = DeviceFactory(device_type__slug="valve", hardware_id="sn-9")
        text = (
            "nobody,pump,sn-1,,,,\n"
            "acme,none,sn-2,,,,\n"
            "acme,pump,,,,,\n"
            "acme,pump,sn-4,,Elsewhere,,\n"
            'acme,pump,sn-5,,,"Beta!",\n'
            "acme,pump,sn-6,,,,Theirs\n"
            "acme,valve,sn-9,,,,\n"
            "acme,pump,sn-7,,,,\n"
            "acme,pump,sn-7,,,,\n"
            f"acme,pump,sn-8,{'x' * 201},,,\n"
        )
        assert mistakes(text) == [
            (2, "tenant", "There is no tenant 'nobody': its slug is asked for."),
            (3, "device_type", "There is no device type 'none': its slug is asked for."),
            (4, "hardware_id", "It is empty."),
            (5, "site", "This tenant has no site 'Elsewhere'."),
            (6, "tags", "'Beta!': lower-case letters, digits, - and _ only."),
            (7, "groups", "This tenant has no group 'Theirs'."),
            (8, "hardware_id", f"{taken.device_id} of this type has it already."),
            (10, "hardware_id", "It stands in row 9 already."),
            (11, "name", "At most 200 characters."),
        ]

    def test_several_mistakes_of_one_row_are_all_told(self, acme):
        assert [(row, column) for row, column, _ in mistakes("x,y,,,,,\n")] == [
            (2, "tenant"),
            (2, "device_type"),
            (2, "hardware_id"),
        ]

    def test_a_thousand_rows_cost_a_few_questions(self, acme, django_assert_max_num_queries):
        user = StaffFactory()
        table = importing.read((HEAD + "".join(f"acme,pump,sn-{n},,Harbour,,Pilot\n" for n in range(1000))).encode())
        with django_assert_max_num_queries(6):
            assert importing.judge(table, user).mistakes == []


class TestCarryingOut:
    def test_writes_all_with_their_evidence(self, acme):
        user = StaffFactory()
        table = importing.read((HEAD + "acme,pump,sn-1,Door,Harbour,beta,Pilot\nacme,pump,sn-2,,,,\n").encode())
        assert importing.carry_out(table, user, "Order 7").mistakes == []
        device = Device.objects.get(hardware_id="sn-1")
        assert (device.state, device.name, device.site.name, device.tags) == ("registered", "Door", "Harbour", ["beta"])
        assert [group.name for group in device.groups.all()] == ["Pilot"]
        assert Device.objects.get(hardware_id="sn-2").name == "Pump sn-2"
        events = Event.objects.filter(kind="device.registered")
        assert {(event.user, event.reason) for event in events} == {(user, "Order 7")}
        assert events.count() == 2
        assert Event.objects.get(kind="devices.imported").detail == {"devices": 2}

    def test_one_mistake_and_nothing_is_written(self, acme):
        table = importing.read((HEAD + "acme,pump,sn-1,,,,\nacme,pump,,,,,\n").encode())
        assert importing.carry_out(table, StaffFactory(), "x").mistakes == [Mistake(3, "hardware_id", "It is empty.")]
        assert (Device.objects.count(), Event.objects.count()) == (0, 0)

    def test_who_is_beaten_to_a_hardware_id_meanwhile_writes_nothing(self, acme, monkeypatch):
        register, calls = lifecycle.register, []

        def beaten(**told):
            calls.append(told)
            if len(calls) == 2:
                raise DeviceError("A device of this type has this hardware id already.", "hardware_id_taken", 409)
            return register(**told)

        monkeypatch.setattr(lifecycle, "register", beaten)
        table = importing.read((HEAD + "acme,pump,sn-1,,,,\nacme,pump,sn-2,,,,\n").encode())
        (mistake,) = importing.carry_out(table, StaffFactory(), "x").mistakes
        assert (mistake.row, mistake.column) == (3, "hardware_id")
        assert (Device.objects.count(), Event.objects.count()) == (0, 0)


class TestPage:
    @pytest.fixture
    def desk(self, client, django_capture_on_commit_callbacks, acme):
        return lambda role="Fleet operator": Desk(client, django_capture_on_commit_callbacks, role)

    def upload(self, person, text):
        return person.post(PAGE, {"file": SimpleUploadedFile("d.csv", (HEAD + text).encode())})

    def test_shows_first_then_asks_why_then_writes(self, desk):
        person = desk()
        assert "Import…" in person.page("device", "changelist")
        preview = self.upload(person, "acme,pump,sn-1,Door,Harbour,beta,Pilot\n")
        text = preview.content.decode()
        assert "1 device will be registered for Acme. Nothing is written yet." in text
        assert "<td>Door</td>" in text
        assert Device.objects.count() == 0
        table = preview.context["table"]
        assert "Say why" in person.post(PAGE, {"table": table, "reason": " "}).content.decode()
        assert Device.objects.count() == 0
        answer = person.post(PAGE, {"table": table, "reason": "Order 7"})
        assert answer.headers["Location"].startswith("/admin/devices/device/?state__exact=registered")
        assert Event.objects.get(kind="device.registered").user == person.user

    def test_confirmed_twice_it_is_written_once(self, desk):
        person = desk()
        table = self.upload(person, "acme,pump,sn-1,,,,\n").context["table"]
        person.post(PAGE, {"table": table, "reason": "x"})
        again = person.post(PAGE, {"table": table, "reason": "x"}).content.decode()
        assert "Nothing was written: something has changed since the preview." in again
        assert Device.objects.count() == 1

    def test_mistakes_are_listed_and_nothing_can_be_confirmed(self, desk):
        page = self.upload(desk(), f"acme,pump,sn-1,{world.SCRIPT},,,\n{world.SCRIPT},pump,sn-2,,,,\n")
        text = page.content.decode()
        assert "1 of 2 rows is wrong" in text
        assert 'name="table"' not in text
        assert world.SCRIPT not in text

    def test_a_table_of_somebody_else_is_not_taken(self, desk, client):
        table = self.upload(desk(), "acme,pump,sn-1,,,,\n").context["table"]
        other = desk()
        assert other.post(PAGE, {"table": table, "reason": "x"}).headers["Location"] == PAGE
        assert other.post(PAGE, {"table": table[:-2], "reason": "x"}).headers["Location"] == PAGE
        assert Device.objects.count() == 0

    def test_a_file_that_is_no_table_is_said_at_its_field(self, desk):
        page = desk().post(PAGE, {"file": SimpleUploadedFile("d.xlsx", b"PK\x03\x04\x00")})
        assert "NUL" in str(page.context["form"].errors["file"])
        assert "required" in str(desk().post(PAGE, {"file": ""}).context["form"].errors["file"])

    @pytest.mark.parametrize("role", [*OTHERS, "Security officer"])
    def test_is_for_those_who_register_devices(self, desk, role):
        person = desk(role)
        assert "Import…" not in person.page("device", "changelist")
        assert person.client.get(PAGE).status_code == 403
        assert self.upload(person, "acme,pump,sn-1,,,,\n").status_code == 403
