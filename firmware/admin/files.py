"""Files to take away: the image at its reader's pace, what is small at once."""

import base64

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from firmware import files, sending
from firmware.models import Release, Signature


def image_file(request: HttpRequest, release: Release) -> HttpResponseBase:
    """The image of a release, or a part of it. Raises `FirmwareError` (artifact_missing)."""
    return sending.artifact(request, release.artifact, f"user:{request.user.pk}")


def sbom_file(release: Release) -> HttpResponse:
    """Its bill of materials. Raises `FirmwareError` (artifact_missing)."""
    with files.open_file(release.sbom_sha256) as file:
        return _attached(file.read(), release.sbom_name, "application/json")


def signature_file(signature: Signature, name: str, *, text: bool) -> HttpResponse:
    """A signature over the manifest of a file of this name: raw, or in Base64."""
    if text:
        return _attached(signature.signature, f"{name}.sig.txt", "text/plain")
    return _attached(base64.b64decode(signature.signature), f"{name}.sig", "application/octet-stream")


def _attached(content: bytes | str, name: str, kind: str) -> HttpResponse:
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "._+-") else "_" for each in name)
    headers = {"Content-Disposition": f'attachment; filename="{plain}"'}
    return HttpResponse(content, content_type=kind, headers=headers)
