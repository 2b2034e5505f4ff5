"""Releases as documents: what may be told of a new one, and what is told of those that are there."""

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.reverse import reverse

from firmware.api.base import Strict
from firmware.models import Release

_MANY = 100
_LONGEST_NOTES = 20_000
_LONGEST_SIGNATURE = 4096
_LARGE = 2**63 - 1


@extend_schema_field({"type": "string", "maxLength": _LONGEST_SIGNATURE, "description": "A file, or text (Base64)."})
class SignatureField(serializers.Field[Any, Any, Any, Any]):
    """A detached signature: a file, or text (Base64)."""

    def to_internal_value(self, data: Any) -> bytes:
        """Its bytes; what they are worth is the use case's business."""
        if isinstance(data, UploadedFile):
            if (data.size or 0) > _LONGEST_SIGNATURE:
                raise serializers.ValidationError("This is too long for a signature.")
            return bytes(data.read())
        if isinstance(data, str) and len(data) <= _LONGEST_SIGNATURE:
            return data.encode()
        raise serializers.ValidationError("Send a signature as a file, or as text in Base64.")


class ReleaseRequest(Strict):
    """The parts of an upload."""

    version = serializers.CharField(max_length=64)
    device_types = serializers.ListField(child=serializers.CharField(max_length=63), max_length=_MANY)
    min_version = serializers.CharField(max_length=64, required=False, default="", allow_blank=True)
    notes = serializers.CharField(max_length=_LONGEST_NOTES, required=False, default="", allow_blank=True)
    tenants = serializers.ListField(
        child=serializers.CharField(max_length=63), required=False, default=list, max_length=_MANY
    )
    min_battery_percent = serializers.IntegerField(min_value=0, max_value=100, required=False, default=0)
    needs_mains = serializers.BooleanField(required=False, default=False)
    min_free_bytes = serializers.IntegerField(min_value=0, max_value=_LARGE, required=False, default=0)
    file = serializers.FileField(allow_empty_file=True)
    signature = serializers.ListField(child=SignatureField(), required=False, default=list, max_length=_MANY)
    sbom = serializers.FileField(required=False, allow_empty_file=True)


def shown(release: Release, request: Request) -> dict[str, Any]:
    """A release that was fetched with `RELATED`."""
    artifact = release.artifact
    return {
        "id": release.pk,
        "url": reverse("release", [release.pk], request=request),
        "version": release.version,
        "device_types": sorted(each.device_type.slug for each in release.compatibilities.all()),
        "tenants": sorted(each.slug for each in release.tenants.all()),
        "min_version": release.min_version,
        "notes": release.notes,
        "preconditions": {
            "min_battery_percent": release.min_battery_percent,
            "needs_mains": release.needs_mains,
            "min_free_bytes": release.min_free_bytes,
        },
        "state": release.state,
        "artifact": {
            "file_name": artifact.file_name,
            "size": artifact.size,
            "sha256": artifact.sha256,
            "sha1": artifact.sha1,
            "md5": artifact.md5,
            "url": reverse("release-artifact", [release.pk], request=request),
        },
        "signatures": [
            {"key": each.key.name, "fingerprint": each.key.fingerprint, "algorithm": each.key.algorithm}
            for each in artifact.signatures.all()
        ],
        "sbom": {
            "name": release.sbom_name,
            "sha256": release.sbom_sha256,
            "url": reverse("release-sbom", [release.pk], request=request),
        }
        if release.sbom_sha256
        else None,
        "uploaded_by": release.uploaded_by or (release.created_by.get_username() if release.created_by else ""),
        "created_at": release.created_at,
    }


RELATED = ("compatibilities__device_type", "tenants", "artifact__signatures__key", "created_by")
"""What `shown` looks at, for `prefetch_related`."""
