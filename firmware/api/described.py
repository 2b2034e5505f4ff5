"""What the API's description says of this room's doors: one decorator an operation."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from devices.api.base import UNCHANGED
from devices.openapi import (
    ETAG,
    IF_MATCH,
    IF_MATCH_NEEDED,
    IF_NONE_MATCH,
    LOCATION,
    PAGES,
    Refused,
    Tags,
    answer,
    body,
    file,
    header,
    paged,
)  # fmt: skip
from devices.repeating import AGAIN, KEY
from firmware.api import answers, base, drafts, examples, queries
from firmware.api.release_documents import ReleaseRequest

_ACCEPT_RANGES: Final = header("Accept-Ranges", "`bytes`: parts of it can be asked for.")
_PLAN_MISTAKES: Final = Refused("invalid", detail="$.stages[0].percent: A valid integer is required.")
_CHANGED: Final = Refused("precondition_failed", detail="It has changed since you looked: look again.")

CAMPAIGNS: Final = extend_schema(
    operation_id="list_campaigns",
    tags=[Tags.CAMPAIGNS],
    summary="List campaigns",
    description="Newest first. Members get those that devices of theirs are in, and of each their own part.",
    parameters=[queries.CampaignsQuery, *PAGES],
    responses={200: answer(answers.CampaignPage, examples.page(examples.OWN_CAMPAIGN), examples.page(examples.ROW))},
)
CAMPAIGN_MADE: Final = extend_schema(
    operation_id="create_campaign",
    tags=[Tags.CAMPAIGNS],
    summary="Draft a campaign",
    description="A name and a release, and whatever differs from what is usual. Nothing is offered to any device "
    "before the draft was submitted, approved and started.",
    parameters=[header("ETag", "Version of the plan.", (201,), always=True), KEY, LOCATION],
    request=body(drafts.DraftRequest, examples.PLAN),
    responses={201: answer(answers.CampaignDocument, examples.CAMPAIGN), 400: _PLAN_MISTAKES, **AGAIN},
)
CAMPAIGN: Final = extend_schema(
    operation_id="get_campaign",
    tags=[Tags.CAMPAIGNS],
    summary="Read a campaign",
    description="Plan, stages, gates and the last count for staff, with an ETag of two halves: plan with state, and "
    "figures. Members get how their own devices fare.",
    parameters=[IF_NONE_MATCH, ETAG],
    responses={200: answer(answers.CAMPAIGN, examples.OWN_CAMPAIGN, examples.CAMPAIGN), 304: UNCHANGED},
)
CAMPAIGN_EDITED: Final = extend_schema(
    operation_id="edit_campaign",
    tags=[Tags.CAMPAIGNS],
    summary="Edit the plan of a campaign",
    description="While nothing of it was offered. What is left out stays as it is; an approval is void by any edit.",
    parameters=[IF_MATCH, ETAG],
    request=body(drafts.DraftRequest, {"name": "Coolers to 1.4.2, once more"}),
    responses={
        200: answer(answers.CampaignDocument, examples.CAMPAIGN),
        400: _PLAN_MISTAKES,
        409: Refused("not_editable"),
        412: _CHANGED,
    },
)
UPDATES: Final = extend_schema(
    operation_id="list_campaign_updates",
    tags=[Tags.CAMPAIGNS],
    summary="List the updates of a campaign",
    description="One for each device, in the order of their registration; members get those of their own devices.",
    parameters=[queries.UpdatesQuery, *PAGES],
    responses={
        200: answer(paged(answers.UpdateDocument), examples.page(examples.OWN_UPDATE), examples.page(examples.UPDATE))
    },
)
VERDICTS: Final = extend_schema(
    operation_id="list_campaign_verdicts",
    tags=[Tags.CAMPAIGNS],
    summary="List what was decided about a campaign",
    description="By whom or by which gate, and on which numbers; newest first.",
    parameters=[*PAGES],
    responses={200: answer(paged(answers.VerdictDocument), examples.page(examples.VERDICT))},
)
DRY_RUN: Final = extend_schema(
    operation_id="dry_run_campaign",
    tags=[Tags.CAMPAIGNS],
    summary="Try a campaign without starting it",
    description="Numbers per stage, who would be skipped and why, how long it would take, and what keeps it from "
    "starting. Changes nothing.",
    request=None,
    responses={200: answer(answers.DryRun, examples.DRY_RUN)},
)


def act(name: str, text: str, told: type[serializers.Serializer[Any]], example: dict[str, Any], seen: bool) -> Any:
    """Something people do with a campaign; `seen`: `If-Match` must be there."""
    mistakes: dict[int, Any] = {409: Refused("not_allowed"), 412: _CHANGED}
    if seen:
        mistakes[428] = Refused("precondition_required", detail="Say what you looked at: send its ETag as If-Match.")
    return extend_schema(
        operation_id=f"{name.replace('-', '_')}_campaign",
        tags=[Tags.CAMPAIGNS],
        summary=text,
        description="Answers with the campaign. 409 where its state does not allow it: done twice, the second is one.",
        parameters=[IF_MATCH_NEEDED if seen else IF_MATCH, ETAG],
        request=body(told, example),
        responses={200: answer(answers.CampaignDocument, examples.CAMPAIGN), 400: Refused("invalid")} | mistakes,
    )


STOP: Final = extend_schema(
    operation_id="get_stop",
    tags=[Tags.CAMPAIGNS],
    summary="Is every offer stopped?",
    description="The stop holds for every device and every campaign.",
    responses={200: answer(answers.StopDocument, examples.STOPPED)},
)
STOPPED: Final = extend_schema(
    operation_id="stop_offers",
    tags=[Tags.CAMPAIGNS],
    summary="Stop every offer to every device",
    description="At once. Where all is stopped already, the stop that holds is told: 200 instead of 201.",
    request=body(base.ReasonRequest, {"reason": "Smoke from a battery."}),
    responses={
        200: answer(answers.StopDocument, examples.STOPPED),
        201: answer(answers.StopDocument, examples.STOPPED),
        400: Refused("invalid"),
    },
)
STOP_LIFTED: Final = extend_schema(
    operation_id="lift_stop",
    tags=[Tags.CAMPAIGNS],
    summary="Lift the stop",
    description="Offers go on where they were. The reason stands in the body.",
    request=body(base.ReasonRequest, {"reason": "It was the charger."}),
    responses={
        200: answer(answers.StopDocument, examples.GOING),
        400: Refused("invalid"),
        409: Refused("not_stopped", detail="Nothing is stopped."),
    },
)
RELEASES: Final = extend_schema(
    operation_id="list_releases",
    tags=[Tags.RELEASES],
    summary="List releases",
    description="Newest first.",
    parameters=[queries.ReleasesQuery, *PAGES],
    responses={200: answer(paged(answers.ReleaseRow), examples.page(examples.RELEASE_ROW))},
)
UPLOADED: Final = extend_schema(
    operation_id="upload_release",
    tags=[Tags.RELEASES],
    summary="Bring in a release",
    description="By a build server with its upload token, or by staff. The signature is over the line "
    "`<sha256 hex>  <file name>` with its line feed, by a trusted key; one or more of them, as files or as Base64. "
    "200 instead of 201 when it is there already with the same file: repeat as you like.",
    parameters=[header("Location", "Where it is.", (200, 201), always=True)],
    request={"multipart/form-data": body(ReleaseRequest, examples.UPLOAD)},
    responses={
        200: answer(answers.ReleaseRow, examples.RELEASE_ROW),
        201: answer(answers.ReleaseRow, examples.RELEASE_ROW),
        400: Refused(
            "invalid", "version_invalid", "min_version_invalid", "file_name", "device_types_missing",
            "device_type_unknown", "tenant_unknown", "empty", "sbom_invalid", "unsigned", "signature_unknown",
            "signature_revoked", "signature_expired", "signature_out_of_scope", "parse_error",
        ),
        401: Refused("token_refused", "not_authenticated"),
        403: Refused("out_of_scope", "permission_denied"),
        409: Refused("version_taken"),
        503: Refused("store_unavailable"),
    },
)  # fmt: skip
RELEASE: Final = extend_schema(
    operation_id="get_release",
    tags=[Tags.RELEASES],
    summary="Read a release",
    description="`problems` tells why it could not be trusted now.",
    parameters=[IF_NONE_MATCH, ETAG],
    responses={200: answer(answers.ReleaseDocument, examples.RELEASE), 304: UNCHANGED},
)
ARTIFACT: Final = extend_schema(
    operation_id="get_release_artifact",
    tags=[Tags.RELEASES],
    summary="Fetch the file of a release",
    description="A part of it by `Range`.",
    parameters=[_ACCEPT_RANGES],
    responses=file("application/octet-stream") | {503: Refused("busy", "store_unavailable")},
)
SBOM: Final = extend_schema(
    operation_id="get_release_sbom",
    tags=[Tags.RELEASES],
    summary="Fetch the bill of materials of a release",
    description="As it was uploaded: CycloneDX or SPDX.",
    responses={200: answer({"type": "object", "additionalProperties": {}}, {"bomFormat": "CycloneDX"})},
)
KEYS: Final = extend_schema(
    operation_id="get_firmware_keys",
    tags=[Tags.RELEASES],
    summary="The keys that a factory builds into devices",
    description="Keys that were revoked or have expired are left out, within half a minute.",
    parameters=[IF_NONE_MATCH, ETAG],
    responses={
        200: answer(answers.Keys, examples.KEYS),
        304: answer(None, text="They are still those that you have."),
        503: Refused("ca_key_unavailable", detail="The permit key is not at hand."),
    },
)
