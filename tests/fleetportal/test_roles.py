import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management.sql import emit_post_migrate_signal

from devices.tenancy import PERSONAL, ROOMS
from fleetportal.roles import HIDDEN, ROLES, VERBS, may

pytestmark = pytest.mark.django_db
APPS = "allauth_idp_oidc"
"""Where the apps are that sign people in."""
MADE_BY_DEVICES = {"event", "certificate", "presence", "reading", "latest", "deadletter", "authority", "finding"}
MADE_BY_DEVICES |= {"update", "report", "verified", "hold", "stage", "artifact", "signature", "compatibility"}
# Dead letters are no evidence of what happened: they are purged, with a reason and an event that stays.
KEPT = MADE_BY_DEVICES - {"deadletter"}
KEPT |= {"device", "release", "campaign", "verdict", "stop", "trustedkey", "uploadtoken"}


def codenames(role):
    return set(Group.objects.get(name=role).permissions.values_list("codename", flat=True))


def ours():
    models = [m for room in ROOMS if apps.is_installed(room) for m in apps.get_app_config(room).get_models()]
    return {model._meta.model_name for model in models if not model._meta.auto_created}


def test_a_fresh_installation_gives_every_role_the_sight_of_every_model_of_every_room():
    Group.objects.all().delete()
    Permission.objects.all().delete()
    emit_post_migrate_signal(verbosity=0, interactive=False, db="default")
    for role in ROLES:
        seen = {f"view_{model}" for model in ours() if role in HIDDEN.get(model, {role})}
        assert {name for name in codenames(role) if name.startswith("view_")} - {"view_client"} == seen


def test_what_a_person_keeps_for_themselves_is_no_roles():
    models = [model for room in ROOMS for model in apps.get_app_config(room).get_models()]
    personal = {model._meta.model_name for model in models if getattr(model, "tenant_path", "") == PERSONAL}
    assert {"savedview", "preference", "repeatedrequest"} <= personal
    assert [name for role in ROLES for name in codenames(role) if name.removeprefix("view_") in personal] == []
    assert {role for role in ROLES if "view_signingkey" in codenames(role)} == {"Security officer"}


def test_only_security_officers_end_what_customers_were_given():
    for permission in ("change_apitoken", "change_invitation"):
        assert holders(permission) == {"Security officer"}


@pytest.mark.parametrize("role", ROLES)
def test_no_role_deletes_evidence_or_makes_what_devices_make(role):
    powers = codenames(role)
    assert {f"delete_{model}" for model in KEPT} & powers == set()
    assert {f"add_{model}" for model in MADE_BY_DEVICES} & powers == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_beyond_the_rooms(role):
    """Making users or giving permissions would be making oneself an administrator."""
    labels = Group.objects.get(name=role).permissions.values_list("content_type__app_label", flat=True)
    assert set(labels) <= {*ROOMS, APPS}


def test_support_changes_nothing():
    assert {name.split("_")[0] for name in codenames("Support")} == {"view"}


def test_only_some_may_hand_out_claims():
    assert {role for role in ROLES if "add_claim" in codenames(role)} == {"Fleet operator", "Security officer"}


def test_only_those_who_run_devices_register_them():
    assert {role for role in ROLES if "add_device" in codenames(role)} == {"Fleet operator"}


def test_powers_somebody_added_by_hand_are_taken_back_with_the_next_release():
    Group.objects.get(name="Support").permissions.add(Permission.objects.get(codename="delete_device"))
    emit_post_migrate_signal(verbosity=0, interactive=False, db="default")
    assert "delete_device" not in codenames("Support")


def test_every_named_model_exists():
    named = {model for verbs in ROLES.values() for models in verbs.values() for model in models}
    assert named <= ours() | {"client"}


def holders(permission):
    return {role for role in ROLES if permission in codenames(role)}


def test_who_writes_campaigns_who_approves_and_who_runs_them_are_three_roles():
    assert holders("add_release") == holders("add_campaign") == {"Firmware author"}
    assert holders("add_verdict") == {"Firmware approver"}
    assert (
        holders("change_campaign")
        == holders("change_hold")
        == holders("add_ring")
        == holders("delete_ring")
        == {"Fleet operator"}
    )
    assert holders("add_trustedkey") == holders("change_trustedkey") == {"Security officer"}
    assert holders("add_uploadtoken") == holders("change_uploadtoken") == {"Security officer"}
    assert holders("add_stop") == holders("change_stop") == {"Fleet operator", "Security officer"}


def test_the_page_about_roles_names_every_permission_a_role_has():
    """So that nobody is given a right that docs/roles.md does not tell."""
    named = {permission for verbs in VERBS.values() for verb in verbs for permission in verb.permissions}
    given = {f"{each}_{model}" for verbs in ROLES.values() for each, models in verbs.items() for model in models}
    assert named == given


@pytest.mark.parametrize("role", ROLES)
def test_the_page_about_roles_tells_what_the_database_says(role):
    for verbs in VERBS.values():
        for verb in verbs:
            assert may(role, verb) == bool(set(verb.permissions) & codenames(role)), verb.what
