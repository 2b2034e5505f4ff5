"""What this room answers with, as the API's description tells it. `showing` and `release_documents` write it."""

from typing import Any, Final

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from devices.openapi import Page
from firmware.models import Release
from firmware.states import CampaignState, PauseReason, StageState, UpdateState, Waiting

_Serializer = serializers.Serializer[Any]


def _when(**options: Any) -> serializers.DateTimeField:
    return serializers.DateTimeField(allow_null=True, **options)


class CampaignRow(_Serializer):
    """A campaign in the list of staff."""

    id = serializers.IntegerField()
    url = serializers.URLField()
    name = serializers.CharField()
    release = serializers.IntegerField(allow_null=True, help_text="Which release it brings; null: an older one each.")
    version = serializers.CharField(allow_null=True)
    rollback_of = serializers.IntegerField(allow_null=True, help_text="The campaign that this one takes back.")
    state = serializers.ChoiceField(choices=list(CampaignState))
    pause_reason = serializers.ChoiceField(choices=["", *PauseReason], help_text="Why it is paused.")
    state_reason = serializers.CharField(help_text="What was said when its state changed.")
    author = serializers.CharField()
    approved_by = serializers.CharField(allow_null=True)
    targets = serializers.IntegerField(help_text="How many devices it was planned for.")
    created_at = serializers.DateTimeField()
    approved_at = _when()
    starts_at = _when()
    started_at = _when()
    paused_at = _when()
    ends_at = _when()
    ended_at = _when()


class Filters(_Serializer):
    """Whom it is for: what meets all of the given."""

    tenants = serializers.ListField(child=serializers.CharField())
    groups = serializers.ListField(child=serializers.IntegerField())
    sites = serializers.ListField(child=serializers.IntegerField())
    tags = serializers.ListField(child=serializers.CharField())
    versions = serializers.ListField(child=serializers.CharField())


class Pace(_Serializer):
    """How fast."""

    max_concurrent = serializers.IntegerField()
    offers_per_minute = serializers.IntegerField()
    use_windows = serializers.BooleanField()
    reboot_jitter_seconds = serializers.IntegerField()
    download_attempts = serializers.IntegerField()


class Gates(_Serializer):
    """When it stops by itself. `_bp`: basis points, 100 of them are one percent."""

    rolls_back = serializers.BooleanField()
    error_rate_bp = serializers.IntegerField()
    offline_rate_bp = serializers.IntegerField()
    reject_rate_bp = serializers.IntegerField()
    burn_rate = serializers.IntegerField()
    success_target_bp = serializers.IntegerField()
    min_executed = serializers.IntegerField()
    offline_grace_seconds = serializers.IntegerField()
    verify_seconds = serializers.IntegerField()
    install_timeout_seconds = serializers.IntegerField()
    stage_timeout_seconds = serializers.IntegerField()


class StageDocument(_Serializer):
    """A step of a campaign."""

    percent = serializers.IntegerField(help_text="Of all its devices, those of the steps before included.")
    soak_seconds = serializers.IntegerField(help_text="How long they are watched before the next step.")
    number = serializers.IntegerField()
    state = serializers.ChoiceField(choices=list(StageState))
    size = serializers.IntegerField(help_text="Devices up to and with this step.")
    started_at = _when()
    soak_from = _when()
    ended_at = _when()


class CampaignDocument(CampaignRow):
    """A campaign with its plan, stages, gates and last count, for staff."""

    notes = serializers.CharField()
    filters = Filters()
    ring = serializers.IntegerField(allow_null=True)
    continuous = serializers.BooleanField(help_text="Do devices that come later join it?")
    spread_sites = serializers.BooleanField()
    pace = Pace()
    gates = Gates()
    stages = StageDocument(many=True)
    updates_url = serializers.URLField()
    verdicts_url = serializers.URLField()
    figures = serializers.DictField(help_text="What its last count told.")
    advanced_at = _when()


class OwnCounts(_Serializer):
    """How one's devices fare."""

    total = serializers.IntegerField()
    waiting = serializers.IntegerField()
    updating = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    rolled_back = serializers.IntegerField()


class OwnCampaign(_Serializer):
    """A campaign for a member: what it brings to the devices of their organisation."""

    id = serializers.IntegerField()
    url = serializers.URLField()
    name = serializers.CharField()
    version = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=list(CampaignState))
    devices = OwnCounts()
    updates_url = serializers.URLField()


class OwnUpdate(_Serializer):
    """A device's update, for its owner."""

    device_id = serializers.CharField()
    version = serializers.CharField(allow_null=True)
    from_version = serializers.CharField()
    state = serializers.ChoiceField(choices=list(UpdateState))
    waiting = serializers.ChoiceField(choices=list(Waiting), help_text="What it waits for; empty: nothing.")
    reason_code = serializers.CharField()
    text = serializers.CharField(help_text="Where it is, for people.")
    progress = serializers.IntegerField(allow_null=True, help_text="Percent of the step that it is at.")
    offered_at = _when()
    ended_at = _when()
    changed_at = serializers.DateTimeField()


class UpdateDocument(OwnUpdate):
    """A device's update; what is not required here, staff alone get."""

    update_id = serializers.UUIDField(required=False)
    serial = serializers.CharField(required=False)
    tenant = serializers.CharField(required=False)
    stage = serializers.IntegerField(required=False)
    attempt = serializers.IntegerField(required=False)
    detail = serializers.CharField(required=False)
    fallback = serializers.CharField(required=False, allow_null=True)
    installing_at = _when(required=False)
    rebooting_at = _when(required=False)
    needs_attention = serializers.BooleanField(required=False)


class VerdictDocument(_Serializer):
    """A decision with its numbers."""

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    stage = serializers.IntegerField(allow_null=True)
    gate = serializers.CharField()
    action = serializers.CharField()
    text = serializers.CharField()
    figures = serializers.DictField()
    user = serializers.CharField()


class PlannedStage(_Serializer):
    """How many devices a step would take."""

    percent = serializers.IntegerField()
    size = serializers.IntegerField()


class Skipped(_Serializer):
    """Devices that would be left out, and why."""

    reason_code = serializers.CharField()
    text = serializers.CharField()
    count = serializers.IntegerField()
    examples = serializers.ListField(child=serializers.CharField())


class DryRun(_Serializer):
    """What would happen if the campaign started now."""

    matching = serializers.IntegerField()
    targets = serializers.IntegerField()
    offline = serializers.IntegerField()
    busy = serializers.IntegerField()
    stages = PlannedStage(many=True)
    skipped = Skipped(many=True)
    duration_seconds = serializers.IntegerField()
    problems = serializers.ListField(child=serializers.CharField(), help_text="What keeps it from starting.")


class StopDocument(_Serializer):
    """Is every offer of firmware stopped?"""

    stopped = serializers.BooleanField()
    since = _when()
    by = serializers.CharField(allow_null=True)
    reason = serializers.CharField()


class Preconditions(_Serializer):
    """What a device must have before it installs."""

    min_battery_percent = serializers.IntegerField()
    needs_mains = serializers.BooleanField()
    min_free_bytes = serializers.IntegerField()


class ArtifactDocument(_Serializer):
    """The file of a release."""

    file_name = serializers.CharField()
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    sha1 = serializers.CharField()
    md5 = serializers.CharField()
    url = serializers.URLField()


class SignatureDocument(_Serializer):
    """A signature, by its key."""

    key = serializers.CharField()
    fingerprint = serializers.CharField()
    algorithm = serializers.CharField()


class SbomDocument(_Serializer):
    """A bill of materials."""

    name = serializers.CharField()
    sha256 = serializers.CharField()
    url = serializers.URLField()


class ReleaseRow(_Serializer):
    """A release of firmware."""

    id = serializers.IntegerField()
    url = serializers.URLField()
    version = serializers.CharField()
    device_types = serializers.ListField(child=serializers.CharField())
    tenants = serializers.ListField(child=serializers.CharField(), help_text="Only for these; empty: for all.")
    min_version = serializers.CharField()
    notes = serializers.CharField()
    preconditions = Preconditions()
    state = serializers.ChoiceField(choices=Release.State.values)
    artifact = ArtifactDocument()
    signatures = SignatureDocument(many=True)
    sbom = SbomDocument(allow_null=True)
    uploaded_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class ReleaseDocument(ReleaseRow):
    """A release, and why it could not be trusted now."""

    problems = serializers.ListField(child=serializers.CharField())


class KeyDocument(_Serializer):
    """A key that signs firmware."""

    name = serializers.CharField()
    algorithm = serializers.CharField()
    fingerprint = serializers.CharField()
    device_types = serializers.ListField(child=serializers.CharField(), help_text="Only for these; empty: for all.")
    not_after = serializers.DateTimeField()


class Keys(_Serializer):
    """What a factory builds into devices."""

    firmware_keys = serializers.ListField(child=serializers.CharField(), help_text="PEM.")
    permit_key = serializers.CharField(help_text="PEM.")
    keys = KeyDocument(many=True)


CAMPAIGN: Final = PolymorphicProxySerializer(
    component_name="Campaign", serializers=[CampaignDocument, OwnCampaign], resource_type_field_name=None
)
"""Staff get the whole of it, members their own part."""


class CampaignPage(Page):
    """Staff get rows, members their own part of each."""

    results = PolymorphicProxySerializer(
        component_name="ListedCampaign",
        serializers=[CampaignRow, OwnCampaign],
        resource_type_field_name=None,
        many=True,
    )
