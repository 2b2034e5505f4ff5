"""The staff's pages of schemas: read by all, changed by some, tried by everybody, and nothing typed is lost."""

import json
from html.parser import HTMLParser

import cbor2
import pytest
from django.contrib.auth.models import Group as Role
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from devices.models import Event
from devices.registry import Incoming, Refused
from telemetry.models import DeadLetter, Reading, Schema
from telemetry.refused import deadletters
from telemetry.schema import changes as schema_changes
from telemetry.schema import schemas
from telemetry.schema.compatibility import MetricSpec, Vocabulary
from telemetry.store import store
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory, TenantFactory, UserFactory, member
from tests.telemetry.messages import envelope, message, row

pytestmark = pytest.mark.django_db
ADD = reverse("admin:telemetry_schema_add")
LIST = reverse("admin:telemetry_schema_changelist")
SCRIPT = "<script>alert(1)</script>"

HOSTILE = [
    *(SCRIPT, json.dumps({SCRIPT: SCRIPT}), "</textarea><b>", "\0", "ÿþ", "x" * 300_000, "f" * 262_146),
    *("[" * 100_000, '{"a":' * 20_000, "{" + " " * 300_000 + "}", '{"temperature_c": ' + "9" * 5000 + "}"),
    *('{"note": "a\0b"}', '{"note": "\\u0000"}', '{"note": "\\ud800"}', '{"temperature_c": 1e999}', '{"note": NaN}'),
]


class Form(HTMLParser):
    """What a browser would send of the editor's form."""

    def __init__(self, text):
        super().__init__()
        self.fields, self.inside, self.area, self.choice, self.skipped = {}, False, None, None, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag == "form":
            self.inside = "schema-form" in (told.get("class") or "")
        self.skipped += tag == "template"
        if not self.inside or self.skipped:
            return
        if tag == "input" and told["type"] in {"text", "hidden", "number"}:
            self.fields[told["name"]] = told.get("value", "")
        if tag == "input" and told["type"] == "checkbox" and "checked" in told:
            self.fields[told["name"]] = "on"
        if tag == "textarea":
            self.area = told["name"]
            self.fields[self.area] = ""
        if tag == "select":
            self.choice = told["name"]
        if tag == "option" and "selected" in told:
            self.fields[self.choice] = told["value"]

    def handle_data(self, data):
        if self.area:
            self.fields[self.area] += data

    def handle_endtag(self, tag):
        self.skipped -= tag == "template"
        self.area = None if tag == "textarea" else self.area
        self.inside = self.inside and tag != "form"


def fields(answer):
    return Form(answer.content.decode()).fields


@pytest.fixture
def desk(client):
    def signed_in(role="Fleet operator"):
        person = UserFactory(is_staff=True, username=role.lower().replace(" ", "-"))
        person.groups.add(Role.objects.get(name=role))
        client.force_login(person)
        return client

    return signed_in


@pytest.fixture
def version():
    return SchemaFactory(device_type=DeviceTypeFactory(name="Cold logger", slug="cold-logger"))


def page(version):
    return reverse("admin:telemetry_schema_change", args=[version.pk])


def now_says(version):
    return schemas.vocabulary(Schema.objects.prefetch_related("metrics").get(pk=version.pk))


def text(answer):
    return answer.content.decode()


def errors(answer):
    """Of each row with any: field → what is said there."""
    return {
        str(form.initial.get("name") or form["name"].value()): {name: list(said) for name, said in form.errors.items()}
        for form in answer.context["editor"].rows
        if form.errors
    }


def pressed(client, address, *, button="_save", **changes):
    """Fill in what the page shows otherwise, and press a button."""
    told = fields(client.get(address)) | {"reason": "Asked for"} | changes
    return client.post(address, {name: value for name, value in told.items() if value is not None} | {button: "1"})


NEW_ROW = {
    "rows": 5, "metric-4-name": "rssi", "metric-4-kind": "integer", "metric-4-label": "Signal", "metric-4-unit": "dBm",
    "metric-4-minimum": "-130", "metric-4-maximum": "0",
}  # fmt: skip


class TestEdit:
    def test_without_a_reason_nothing_is_saved_and_nothing_typed_is_lost(self, desk, version):
        client, before = desk(), now_says(version)
        answer = pressed(client, page(version), **NEW_ROW, reason=" ")
        assert "Say why: it becomes evidence." in text(answer)
        assert fields(answer)["metric-4-name"] == "rssi"
        assert now_says(version) == before
        assert not Event.objects.filter(kind="schema.changed").exists()

    def test_what_is_compatible_is_saved_with_its_reason(self, desk, version):
        client = desk()
        changes = {"metric-0-maximum": "90.5", "metric-0-label": "Air", "metric-0-required": None, "open": "on"}
        answer = pressed(client, page(version), **changes, **NEW_ROW, reason="New probe")
        assert answer.status_code == 302 and answer.url == page(version)
        says = now_says(version)
        assert says.metrics[0] == MetricSpec("temperature_c", "number", "Air", "°C", -60.0, 90.5, False)
        assert says.metrics[4] == MetricSpec("rssi", "integer", "Signal", "dBm", -130.0, 0.0, False)
        assert says.open and Event.objects.get(kind="schema.changed").reason == "New probe"
        assert "was changed" in text(client.get(page(version)))
        history = client.get(reverse("admin:telemetry_schema_history", args=[version.pk]))
        assert "Changed to revision 2. New probe" in text(history)

    def test_a_page_saved_as_it_is_changes_nothing(self, desk, version):
        before = now_says(version)
        answer = pressed(desk(), page(version))
        assert answer.status_code == 302
        assert now_says(version) == before and Schema.objects.get(pk=version.pk).revision == 1

    def test_what_is_not_compatible_is_said_at_its_field_with_what_to_do_and_everything_typed_stays(
        self, desk, version
    ):
        client = desk()
        changes = {"metric-0-maximum": "70", "metric-1-label": "", "reason": "Why not", "payload": "{}"}
        answer = pressed(client, page(version), **{**changes, **NEW_ROW, "metric-4-name": "Signal!"})
        assert answer.status_code == 200
        assert errors(answer)["humidity_pct"]["label"] == ["People read this. 1 to 100 characters, on one line."]
        assert list(errors(answer)["Signal!"]) == ["name"]
        typed = fields(answer)
        assert (typed["metric-0-maximum"], typed["reason"], typed["payload"]) == ("70", "Why not", "{}")
        answer = pressed(client, page(version), **{"metric-0-maximum": "70"})
        told = ["Was 80: larger values would be refused. Keep it, or cut version 2."]
        assert errors(answer) == {"temperature_c": {"maximum": told}}
        assert Schema.objects.get(pk=version.pk).revision == 1

    @pytest.mark.parametrize(
        ("field", "value"), [("minimum", "low"), ("minimum", "nan"), ("maximum", "1e999"), ("label", "x" * 101)]
    )
    def test_what_no_field_holds_is_said_there_and_never_taken_for_nothing(self, desk, version, field, value):
        answer = pressed(desk(), page(version), **{f"metric-0-{field}": value})
        assert answer.status_code == 200 and list(errors(answer)["temperature_c"]) == [field]
        assert fields(answer)[f"metric-0-{field}"] == value
        assert now_says(version).metrics[0].minimum == -60

    def test_what_is_fixed_stays_whatever_is_sent(self, desk, version):
        before = now_says(version)
        sent = {"metric-0-name": "other", "metric-0-kind": "text", "metric-0-unit": "K", "metric-1-required": "on"}
        assert pressed(desk(), page(version), **sent, known=4).status_code == 302
        assert now_says(version) == before

    def test_a_form_that_forgets_metrics_removes_none(self, desk, version):
        answer = pressed(desk(), page(version), known=1, rows=1)
        assert answer.status_code == 200
        assert "loses its name" in str(answer.context["editor"].head.non_field_errors())
        assert len(now_says(version).metrics) == 4

    @pytest.mark.parametrize("spoilt", [{"rows": "many"}, {"rows": "99999"}, {"known": None}, {"revision": "-1"}])
    def test_a_form_that_this_page_never_sent_is_not_read(self, desk, version, spoilt):
        answer = pressed(desk(), page(version), **spoilt)
        assert answer.status_code == 200 and "Nothing was read" in text(answer)
        assert Schema.objects.get(pk=version.pk).revision == 1

    def test_more_rows_come_without_script_and_nothing_is_lost(self, desk, version):
        client = desk()
        answer = pressed(client, page(version), button="_more", **{**NEW_ROW, "metric-0-label": "Air"})
        typed = fields(answer)
        assert (typed["rows"], typed["metric-4-name"], typed["metric-0-label"]) == ("8", "rssi", "Air")
        answer = client.post(page(version), typed | {"_save": "1"})
        assert answer.status_code == 302 and len(now_says(version).metrics) == 5

    def test_somebody_elses_change_meanwhile_is_said_and_nothing_typed_is_lost(self, desk, version):
        client = desk()
        typed = fields(client.get(page(version))) | NEW_ROW | {"metric-1-label": "Damp", "reason": "Mine"}
        old = now_says(version)
        theirs = Vocabulary((*old.metrics, MetricSpec("vbat", "number", "Battery", "V")))
        schema_changes.change(version, theirs, revision=1, user=UserFactory())
        answer = client.post(page(version), typed | {"_save": "1"})
        assert answer.status_code == 200 and "changed this version meanwhile" in text(answer)
        again = fields(answer)
        assert (again["metric-5-name"], again["metric-1-label"], again["reason"]) == ("rssi", "Damp", "Mine")
        assert (again["revision"], again["known"], again["rows"]) == ("2", "5", "6")
        assert client.post(page(version), again | {"_save": "1"}).status_code == 302
        assert [each.name for each in now_says(version).metrics[4:]] == ["vbat", "rssi"]
        assert now_says(version).metrics[1].label == "Damp"

    def test_two_hundred_metrics_fit_into_one_form_and_one_more_is_told(self, desk):
        metrics = tuple(MetricSpec(f"m{number}", label=f"M{number}") for number in range(200))
        client = desk()
        version = schema_changes.cut(DeviceTypeFactory(), Vocabulary(metrics), version=1, user=None)
        assert pressed(client, page(version), **{"metric-199-label": "Last"}).status_code == 302
        assert now_says(version).metrics[199].label == "Last"
        more = {"rows": 201, "metric-200-name": "more", "metric-200-kind": "number", "metric-200-label": "More"}
        answer = pressed(client, page(version), **more)
        assert "At most 200" in str(answer.context["editor"].head.non_field_errors())
        assert fields(answer)["metric-200-name"] == "more"


class TestCut:
    def address(self, version):
        return f"{ADD}?device_type={version.device_type.slug}&from={version.version}"

    def test_everything_can_be_changed(self, desk, version):
        client = desk()
        changes = {
            "metric-0-unit": "K", "metric-0-place": "9", "metric-1-remove": "on", "metric-2-name": "door",
            "metric-3-required": "on", "reason": "Kelvin",
        }  # fmt: skip
        answer = pressed(client, self.address(version), **changes)
        made = Schema.objects.get(device_type=version.device_type, version=2)
        assert answer.url == page(made)
        names = [(each.name, each.unit, each.required) for each in now_says(made).metrics]
        assert names == [("door", "", False), ("note", "", True), ("temperature_c", "K", True)]
        assert Event.objects.get(kind="schema.cut").reason == "Kelvin"
        assert now_says(version).metrics[0].unit == "°C"

    def test_a_type_without_any_gets_its_first(self, desk):
        kind = DeviceTypeFactory()
        client = desk()
        address = f"{ADD}?device_type={kind.slug}"
        assert address.split("?")[1] in text(client.get(ADD))
        answer = pressed(client, address, **{"metric-0-name": "level", "metric-0-label": "Level"})
        made = kind.schemas.get()
        assert answer.url == page(made) and now_says(made).metrics == (
            MetricSpec("level", label="Level", required=True),
        )

    def test_mistakes_are_said_where_they_are(self, desk, version):
        changes = {"metric-1-name": "temperature_c", "metric-2-minimum": "0"}
        answer = pressed(desk(), self.address(version), **changes)
        found = {
            (name, field) for form in answer.context["editor"].rows for field in form.errors for name in [form.prefix]
        }
        assert found == {("metric-1", "name"), ("metric-2", "minimum")}
        assert version.device_type.schemas.count() == 1

    def test_who_is_second_loses_nothing_and_cuts_the_one_after(self, desk, version):
        client = desk()
        typed = fields(client.get(self.address(version))) | {"metric-0-unit": "K", "reason": "x"}
        schema_changes.cut(version.device_type, now_says(version), version=2, user=None)
        answer = client.post(self.address(version), typed | {"_save": "1"})
        assert "cut by somebody else meanwhile" in text(answer) and "Cut version 3" in text(answer)
        again = fields(answer)
        assert (again["metric-0-unit"], again["revision"]) == ("K", "3")
        assert client.post(self.address(version), again | {"_save": "1"}).status_code == 302
        assert Schema.objects.get(device_type=version.device_type, version=3).metrics.first().unit == "K"

    @pytest.mark.parametrize(
        "query", ["device_type=nobody", "device_type=cold-logger&from=9", "device_type=cold-logger&from=x"]
    )
    def test_of_nothing_known_is_not_found(self, desk, version, query):
        assert desk().get(f"{ADD}?{query}").status_code == 404


class TestRights:
    ROLES = ["Firmware author", "Firmware approver", "Security officer", "Support"]

    @pytest.mark.parametrize("role", ROLES)
    def test_others_read_and_try_and_change_nothing(self, desk, version, role):
        client = desk(role)
        shown = text(client.get(page(version)))
        assert "temperature_c" in shown and "Save changes" not in shown and "New version from this" not in shown
        answer = client.post(page(version), {"_try": "1", "payload": '{"temperature_c": 4}'})
        assert "It would be stored" in text(answer)
        assert client.post(page(version), {"_save": "1", "rows": 0, "known": 0, "revision": 1}).status_code == 403
        assert client.get(ADD).status_code == client.post(f"{ADD}?device_type=cold-logger").status_code == 403

    def test_customers_and_strangers_see_nothing(self, client, version):
        for person in (None, member(TenantFactory())):
            if person:
                client.force_login(person)
            for address in (page(version), LIST, ADD, reverse("admin:telemetry_schema_json", args=[version.pk])):
                assert client.get(address).status_code == 302

    def test_a_form_from_elsewhere_is_refused(self, desk, version):
        client = desk()
        client.handler.enforce_csrf_checks = True
        assert client.post(page(version), {"_try": "1", "payload": "{}"}).status_code == 403

    @pytest.mark.parametrize("pk", ["0", "99999", "32768", "-1", "x", "1e3", "²"])
    def test_what_is_not_there_is_not_found(self, desk, pk):
        assert desk().get(f"{LIST}{pk}/change/").status_code == 404


class TestShown:
    def test_the_list_tells_how_many_devices_use_a_version_now(self, desk, version, days):
        second = SchemaFactory(device_type=version.device_type, version=2, open=True)
        devices = [DeviceFactory(device_type=version.device_type) for _ in range(3)]
        store([row(device, schema) for device, schema in zip(devices, [version, second, second], strict=True)])
        client = desk("Support")
        found = {each.version: (each.used, each.count) for each in client.get(LIST).context["cl"].result_list}
        assert found == {1: (1, 4), 2: (2, 4)}
        assert "<dd>2</dd>" in text(client.get(page(second)))

    def test_firmware_developers_take_the_schema_and_an_example_with_them(self, desk, version):
        client = desk("Support")
        file = client.get(reverse("admin:telemetry_schema_json", args=[version.pk]))
        assert file["Content-Disposition"] == 'attachment; filename="cold-logger-v1.schema.json"'
        told = json.loads(file.content)
        assert told["properties"]["temperature_c"] == {
            "title": "temperature_c", "description": "In °C", "type": "number", "minimum": -60, "maximum": 80,
        }  # fmt: skip
        answer = client.get(page(version))
        assert json.loads(answer.context["document"]) == told
        tried = client.post(page(version), {"_try": "1", "payload": answer.context["example"]})
        assert tried.context["box"].answer.taken == 1 and tried.context["box"].answer.tried[0].notes == []


class TestTry:
    def tried(self, client, version, **told):
        return client.post(page(version), {"_try": "1", **told})

    def test_values_are_shown_as_they_would_be_stored_and_nothing_is(self, desk, version):
        answer = self.tried(desk("Support"), version, payload=json.dumps(envelope(values={"temperature_c": 4.25})))
        assert "It would be stored." in text(answer) and "4.25" in text(answer) and "place 0" in text(answer)
        assert not Reading.objects.exists() and not DeadLetter.objects.exists()

    def test_mistakes_have_their_path(self, desk, version):
        answer = self.tried(desk("Support"), version, payload='{"temperature_c": "warm", "humidity_pct": 101}')
        assert "$.values.temperature_c" in text(answer) and "$.values.humidity_pct" in text(answer)
        assert "It would be refused." in text(answer)

    def test_a_file_of_cbor(self, desk, version):
        file = SimpleUploadedFile("message.cbor", cbor2.dumps(envelope()))
        answer = self.tried(desk("Support"), version, file=file)
        assert "It would be stored." in text(answer) and "CBOR" in text(answer)

    def test_unsaved_edits_are_what_is_tried_against(self, desk, version):
        client = desk()
        payload = '{"temperature_c": 85, "rssi": -70}'
        assert "It would be refused" in text(pressed(client, page(version), button="_try", payload=payload))
        edits = {"metric-0-maximum": "90", **NEW_ROW, "payload": payload}
        answer = pressed(client, page(version), button="_try", **edits)
        assert "It would be stored" in text(answer) and "not saved" in text(answer)
        assert fields(answer)["metric-0-maximum"] == "90" and fields(answer)["metric-4-name"] == "rssi"
        assert now_says(version).metrics[0].maximum == 80

    def test_edits_that_could_not_be_saved_are_tried_and_marked(self, desk, version):
        answer = pressed(
            desk(), page(version), button="_try", **{"metric-0-maximum": "3", "payload": '{"temperature_c": 4}'}
        )
        assert "It would be refused" in text(answer) and "cut version 2" in str(errors(answer))
        answer = pressed(answer.client, page(version), button="_try", **{"metric-0-maximum": "x", "payload": "{}"})
        assert "Not tried" in text(answer)
        answer = pressed(answer.client, page(version), button="_try", **{"metric-0-label": "", "payload": "{}"})
        assert "Not tried" in text(answer)

    def test_a_version_that_is_still_being_made(self, desk, version):
        address = f"{ADD}?device_type=cold-logger"
        changes = {"metric-0-unit": "K", "metric-0-maximum": "400", "payload": '{"temperature_c": 300}'}
        answer = pressed(desk(), address, button="_try", **changes)
        assert "It would be stored" in text(answer) and "version 2 as typed" in text(answer)
        answer = pressed(answer.client, address, button="_try", **{"metric-0-name": "", "payload": "{}"})
        assert "Not tried" in text(answer)

    @pytest.mark.parametrize("payload", ["", "  "])
    def test_nothing_is_nothing_to_try(self, desk, version, payload):
        assert "Nothing to try" in text(self.tried(desk("Support"), version, payload=payload))

    @pytest.mark.parametrize("payload", HOSTILE)
    def test_whatever_is_pasted_is_text_and_has_an_answer(self, desk, version, payload):
        answer = self.tried(desk("Support"), version, payload=payload)
        assert answer.status_code == 200 and "It would be refused" in text(answer)
        assert SCRIPT not in text(answer) and "</textarea><b>" not in text(answer) and "\0" not in text(answer)

    def test_bad_utf8_and_a_file_that_is_too_large_have_an_answer(self, desk, version):
        client = desk("Support")
        raw = b"_try=1&payload=%7B%22note%22%3A%22%ff%fe%22%7D"
        answer = client.post(page(version), raw, content_type="application/x-www-form-urlencoded")
        assert "It would be refused" in text(answer)
        for data in (b"\xff\xfe{", b"x" * 2_000_000):
            assert "It would be refused" in text(self.tried(client, version, file=SimpleUploadedFile("f", data)))

    def test_what_an_open_version_keeps_is_text_too(self, desk):
        version = SchemaFactory(open=True)
        told = {"temperature_c": 1, SCRIPT: [SCRIPT]}
        answer = self.tried(desk("Support"), version, payload=json.dumps(told))
        assert "It would be stored" in text(answer) and SCRIPT not in text(answer)


class TestDeadLetters:
    def test_the_newest_of_this_version_are_tried_against_the_edits(self, desk, version):
        device, stranger = DeviceFactory(device_type=version.device_type), DeviceFactory()
        refused = [
            (device, envelope(values={"temperature_c": 85})),
            (device, envelope(values={"temperature_c": 99})),
            (device, envelope(values={"temperature_c": 85}, schema_version=2)),
            (stranger, envelope(values={"temperature_c": 85})),
        ]
        for whose, told in refused:
            reason = "schema" if told["schema_version"] == 1 else "schema_version"
            deadletters.keep([Refused(message(whose, told), reason, "too much", "$", whose.pk)], timezone.now())
        garbage = Incoming(message(device, envelope()).topic, b"\xff", 1)
        deadletters.keep([Refused(garbage, "schema", "garbage", "$", device.pk)], timezone.now())
        client = desk()
        letters = pressed(client, page(version), button="_letters").context["box"].letters
        assert (letters.taken, letters.total) == (0, 2)
        answer = pressed(client, page(version), button="_letters", **{"metric-0-maximum": "90"})
        assert "1 of 2 would pass" in text(answer) and "$.values.temperature_c" in text(answer)
        cut = pressed(client, f"{ADD}?device_type=cold-logger", button="_letters", **{"metric-0-maximum": "90"})
        assert "1 of 1 would pass" in text(cut)
        assert DeadLetter.objects.count() == 5 and not Reading.objects.exists()

    def test_none_are_none(self, desk, version):
        assert "None to try" in text(desk("Support").post(page(version), {"_letters": "1"}))
