"""Every change through the admin leaves an event: who, what, from what to what, and why."""

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from devices.models import Device, Event, Group, Tenant
from devices.tenancy import ROOMS
from firmware.models import Campaign, Ring
from tests.factories import StaffFactory, TenantFactory, UserFactory
from tests.fleetportal import admin_pages, world

pytestmark = pytest.mark.django_db
OWN_PAGES = {Campaign, *(model for model in admin.site._registry if model._meta.model_name == "schema")}
"""Models that are changed on pages of their own, each with tests of its own."""
PAGES = [model for model in admin.site._registry if model not in OWN_PAGES]


@pytest.fixture
def root(client):
    user = StaffFactory(username="ruth")
    client.force_login(user)
    return user


@pytest.fixture
def device(ca):
    every = IntervalSchedule.objects.create(every=7, period="minutes")
    PeriodicTask.objects.create(name="a task", task="fleetportal.tasks.beat_heartbeat", interval=every)
    return world.add(TenantFactory(name="Acme"))


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def answered(context):
    """What a browser would send of the form that a page shows, unchanged."""
    data = {}
    for form in [
        context["adminform"].form,
        *(each for line in context["inline_admin_formsets"] for each in sent(line)),
    ]:
        for bound in form:
            value = bound.value()
            if value is None or value is False:
                continue
            if isinstance(bound.field, forms.SplitDateTimeField):
                day, time = bound.field.widget.decompress(value)
                data |= {f"{bound.html_name}_0": day, f"{bound.html_name}_1": time}
                continue
            many = isinstance(value, list | tuple)
            keys = [getattr(each, "pk", each) for each in value] if many else getattr(value, "pk", value)
            if isinstance(bound.field, forms.ModelMultipleChoiceField):
                data[bound.html_name] = keys
            else:
                data[bound.html_name] = bound.field.prepare_value(value) if not many else ",".join(map(str, keys))
    return {name: "" if value is None else value for name, value in data.items()}


def sent(line):
    return [line.formset.management_form, *line.formset.initial_forms]


def something_else(form):
    """A text of the form, and what to write there instead."""
    for name, field in form.fields.items():
        if type(field) is forms.CharField and name not in ("why", "password", "id"):
            return name, f"other {form.initial.get(name) or ''}"[: field.max_length or 50]
    for name, field in form.fields.items():
        if isinstance(field, forms.IntegerField):
            return name, (form.initial.get(name) or 0) + 1
        if isinstance(field, forms.BooleanField):
            return name, "" if form.initial.get(name) else "on"
    return None


def changeable(client, model, row):
    answer = client.get(url(model, "change", row.pk))
    return answer if answer.status_code == 200 and answer.context.get("has_change_permission") else None


@pytest.mark.parametrize("model", PAGES, ids=[model._meta.label_lower for model in PAGES])
def test_every_page_that_lets_change_leaves_who_what_and_why(client, root, device, model):
    row = model._base_manager.order_by("pk").first()
    page = changeable(client, model, row) if row else None
    if page is None or "adminform" not in page.context:
        assert model not in (Device, Tenant, Group, Ring, User, Role, PeriodicTask)
        return
    form = page.context["adminform"].form
    choice = something_else(form)
    if choice is None:
        assert model._meta.app_label not in ROOMS
        return
    name, value = choice
    data = answered(page.context) | {name: value, "confirmed": "yes"}
    asks = "why" in form.fields
    if asks:
        before = Event.objects.count()
        again = client.post(url(model, "change", row.pk), data)
        assert again.status_code == 200, "without a reason it is asked for again"
        assert again.context["adminform"].form.errors.get("why") == ["Say why: it becomes evidence."]
        assert Event.objects.count() == before
    changed = client.post(url(model, "change", row.pk), data | {"why": "Ticket 4711"})
    assert changed.status_code == 302, changed.context["adminform"].form.errors
    event = Event.objects.filter(kind=f"{model._meta.model_name}.changed").latest("pk")
    assert event.user == root
    assert event.reason == ("Ticket 4711" if asks else model.objects.get(pk=row.pk).reason)
    assert set(event.detail["changes"][name]) == {"before", "after"}


def test_before_and_after_are_names_and_what_hangs_on_a_page_is_told_too(client, root, device):
    tenant = device.tenant
    user = UserFactory(username="new.viewer")
    page = client.get(url(Tenant, "change", tenant.pk))
    count = int(page.context["inline_admin_formsets"][0].formset.management_form["TOTAL_FORMS"].value())
    line = {"memberships-TOTAL_FORMS": count + 1, f"memberships-{count}-user": user.pk}
    line |= {f"memberships-{count}-role": "viewer", f"memberships-{count}-tenant": tenant.pk}
    data = answered(page.context) | line | {"name": "Acme Ltd", "why": "Renamed by the board"}
    assert client.post(url(Tenant, "change", tenant.pk), data).status_code == 302
    event = Event.objects.get(kind="tenant.changed")
    assert event.detail["changes"] == {"name": {"before": "Acme", "after": "Acme Ltd"}}
    assert event.detail["lines"] == [{"added": "new.viewer · Viewer of Acme Ltd"}]
    assert event.tenant == tenant


def test_a_password_is_never_evidence(client, root):
    user = UserFactory()
    secret = "a quite long passphrase 4711"
    told = {"usable_password": "true", "password1": secret, "password2": secret}
    address = f"/admin/auth/user/{user.pk}/password/"
    asked = client.post(address, told)
    assert asked.context["form"].errors["why"] == ["Say why: it becomes evidence."]
    assert 'id="id_why_error"' in asked.content.decode()
    assert not Event.objects.exists()
    assert client.post(address, told | {"why": "Phoned us"}).status_code == 302
    event = Event.objects.get(kind="user.changed")
    assert event.reason == "Phoned us"
    assert secret not in str(event.detail)
    assert "(not shown)" in str(event.detail)


def test_what_goes_asks_why_and_leaves_its_name(client, root, device):
    ring = Ring.objects.create(name="Unused", order=3)
    address = url(Ring, "delete", ring.pk)
    assert 'name="why"' in client.get(address).content.decode()
    client.post(address, {"post": "yes"})
    assert Ring.objects.filter(pk=ring.pk).exists()
    client.post(address, {"post": "yes", "why": "Nobody is in it"})
    assert not Ring.objects.filter(pk=ring.pk).exists()
    event = Event.objects.get(kind="ring.removed")
    assert (event.user, event.reason, event.detail["name"]) == (root, "Nobody is in it", "Unused")


def test_many_that_go_ask_why_too(client, root, device):
    task = PeriodicTask.objects.get(name="a task")
    told = {"action": "delete_selected", "_selected_action": [task.pk]}
    address = url(PeriodicTask, "changelist")
    assert 'name="why"' in client.post(address, told).content.decode()
    client.post(address, told | {"post": "yes"})
    assert PeriodicTask.objects.filter(pk=task.pk).exists()
    client.post(address, told | {"post": "yes", "why": "Not ours"})
    assert Event.objects.get(kind="periodictask.removed").reason == "Not ours"


def test_tasks_are_disabled_and_enabled_with_a_reason(client, root, device):
    task = PeriodicTask.objects.get(name="a task")
    address, told = url(PeriodicTask, "changelist"), {"action": "disable", "_selected_action": [task.pk]}
    assert "Reason" in client.post(address, told | {"confirmed": "yes", "reason": " "}).content.decode()
    assert not Event.objects.filter(kind__startswith="periodictask.").exists()
    for _ in range(2):  # the second time there is nothing to do
        client.post(address, told | {"confirmed": "yes", "reason": "Too much load"})
    task.refresh_from_db()
    assert not task.enabled
    event = Event.objects.get(kind="periodictask.disabled")
    assert (event.user, event.reason) == (root, "Too much load")
    assert event.detail["changes"] == {"enabled": {"before": True, "after": False}}
    client.post(address, told | {"action": "enable", "confirmed": "yes", "reason": "Over"})
    assert PeriodicTask.objects.get(pk=task.pk).enabled
    assert Event.objects.get(kind="periodictask.enabled").reason == "Over"


def test_a_task_is_run_now_with_a_reason(client, root, device, django_capture_on_commit_callbacks):
    task = PeriodicTask.objects.get(name="a task")
    told = {"action": "run", "_selected_action": [task.pk], "confirmed": "yes", "reason": "To see"}
    with django_capture_on_commit_callbacks() as waiting:
        client.post(url(PeriodicTask, "changelist"), told)
    assert len(waiting) == 1
    event = Event.objects.get(kind="periodictask.run")
    assert (event.reason, event.detail["name"]) == ("To see", "a task")
    PeriodicTask.objects.filter(pk=task.pk).update(task="no.such")
    client.post(url(PeriodicTask, "changelist"), told)
    assert Event.objects.filter(kind="periodictask.run").count() == 1


def test_every_act_of_every_page_asks_why(client, root, device):
    """Acts of other people's pages ask nothing: none of them may be left."""
    request = RequestFactory().get("/")
    request.user = root
    theirs = {
        f"{model._meta.label_lower}: {name}"
        for model, page in admin.site._registry.items()
        if page.tells_acts
        for name in page.get_actions(request)
        if name != "delete_selected"
    }
    assert theirs == set()


class TestPage:
    def listed(self, client, **query):
        return [row.kind for row in client.get("/admin/devices/event/", query).context["cl"].result_list]

    @pytest.fixture
    def done(self, client, root, device):
        page = client.get(url(Device, "change", device.pk))
        client.post(url(Device, "change", device.pk), answered(page.context) | {"name": "North door", "why": "Moved"})
        return Event.objects.get(kind="device.changed")

    def test_says_who_what_whom_why_and_from_what_to_what(self, client, done, device):
        page = client.get("/admin/devices/event/", {"by": "people"}).content.decode()
        for part in ("What was done", "Device changed", "ruth", "North door", "Moved", f"{device.name} → North door"):
            assert part in page
        own = client.get(f"/admin/devices/event/{done.pk}/change/").content.decode()
        assert "From what to what" in own

    def test_is_searched_by_person_and_by_device(self, client, done, device):
        assert self.listed(client, q="ruth") == ["device.changed"]
        assert "reported.log" in self.listed(client, q=device.device_id)
        assert "device.changed" in self.listed(client, q="North do")
        assert self.listed(client, q="nobody") == []

    def test_is_filtered_by_who_what_and_tenant(self, client, done, device):
        assert "device.changed" not in self.listed(client, by="others")
        assert (
            self.listed(client, what="device.chan") == self.listed(client, what="Device changed") == ["device.changed"]
        )
        assert self.listed(client, tenant_name="acme", by="people") == ["device.changed"]
        assert self.listed(client, tenant_name="other") == []

    def test_shows_what_devices_wrote_as_text(self, client, done, device):
        event = Event.objects.filter(kind="reported.log").first()
        page = client.get(f"/admin/devices/event/{event.pk}/change/").content.decode()
        assert world.SCRIPT not in page
        assert "&lt;script&gt;" in page


def test_every_page_of_the_site_is_audited():
    assert [model for model, page in admin.site._registry.items() if not hasattr(page, "asks_why")] == []
    assert len(admin_pages.patterns()) > 200
