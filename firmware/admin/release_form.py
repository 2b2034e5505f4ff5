"""The form that uploads a release: image, signatures, whom it is for. What is wrong is said where it is wrong."""

import re
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.files.uploadedfile import UploadedFile

from devices.admin.base import SeveralSearched
from devices.models import DeviceType
from firmware import sboms, signing
from firmware.admin.refusals import RefusableForm
from firmware.models import Compatibility, Release
from firmware.models.release import FILE_NAME
from firmware.releases import Draft
from firmware.versions import Version, VersionError

_SIGNATURE_BYTES = 1024
_PLAIN = re.compile(FILE_NAME)


class FilesInput(forms.ClearableFileInput):
    """Django's, for more than one."""

    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files."""

    widget = FilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        """Each as Django judges one."""
        given = data if isinstance(data, list | tuple) else [data]
        return [found for each in given if (found := super(FilesField, self).clean(each, initial))]


class ReleaseForm(RefusableForm):
    """What is told of a new release."""

    at = {
        "version_invalid": "version",
        "version_taken": "version",
        "already_there": "version",
        "min_version_invalid": "min_version",
        "device_types_missing": "device_types",
        "file_name": "file",
        "too_large": "file",
        "empty": "file",
        "unsigned": "signatures",
        "signature_unknown": "signatures",
        "signature_revoked": "signatures",
        "signature_expired": "signatures",
        "signature_out_of_scope": "signatures",
        "sbom_invalid": "sbom",
    }

    device_types = forms.ModelMultipleChoiceField(
        DeviceType.objects.all(), label="Device types", help_text="Hardware it is made for.",
        widget=SeveralSearched(Release._meta.get_field("device_types"), admin.site),
    )  # fmt: skip
    file = forms.FileField(
        label="Image", max_length=100, help_text="The file that devices install. Its name is part of what was signed."
    )
    signatures = FilesField(
        label="Signature files", required=False,
        help_text="Detached signatures over the manifest of the image, each in DER or Base64. "
        "Every signature given must be good, by a trusted key.",
    )  # fmt: skip
    signature_text = forms.CharField(
        label="Or signatures as text", required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false", "class": "pem-input vLargeTextField"}),
        help_text="Base64, as cosign prints it. Several: with an empty line between them.",
    )  # fmt: skip
    sbom = forms.FileField(label="SBOM", required=False, help_text="Bill of materials: CycloneDX or SPDX, in JSON.")

    class Meta:
        model = Release
        fields = ["version", "min_version", "notes", "tenants", "min_battery_percent", "needs_mains", "min_free_bytes"]
        labels = {
            "min_version": "Minimum version",
            "min_battery_percent": "Battery at least (%)",
            "needs_mains": "On mains power only",
            "min_free_bytes": "Free space beside the image (bytes)",
            "tenants": "Only for tenants",
        }
        help_texts = {
            "notes": "What is new, for whoever approves and runs campaigns of it.",
            "min_battery_percent": "0: whatever the battery says.",
            "needs_mains": "",
            "min_free_bytes": "0: the image itself is enough.",
        }

    def clean_version(self) -> str:
        """A semantic version."""
        return _version(self.cleaned_data["version"])

    def clean_min_version(self) -> str:
        """A semantic version, or none."""
        told: str = self.cleaned_data["min_version"]
        return _version(told) if told else ""

    def clean_file(self) -> UploadedFile:
        """Under a plain name: it stands in the manifest."""
        file: UploadedFile = self.cleaned_data["file"]
        if not _PLAIN.fullmatch(file.name or ""):
            raise forms.ValidationError("The name of the file: letters, digits, . _ + and -, at most 100, no space.")
        return file

    def clean_signatures(self) -> list[bytes]:
        """Whether they are good is for the use case to say; here they are at least signatures."""
        files = self.cleaned_data["signatures"]
        for file in files:
            file.seek(0)  # a form that was refused is judged a second time
        return [_signature(file.read(_SIGNATURE_BYTES + 1), file.name) for file in files]

    def clean_signature_text(self) -> list[bytes]:
        """Those pasted, with empty lines between them."""
        parts = re.split(r"\r?\n[ \t]*\r?\n", self.cleaned_data["signature_text"].strip())
        return [_signature(part.encode(), "What was pasted") for part in parts if part.strip()]

    def clean_sbom(self) -> UploadedFile | None:
        """One that may be read whole, as the image never is."""
        file: UploadedFile | None = self.cleaned_data["sbom"]
        if file and (file.size or 0) > sboms.MAX_BYTES:
            raise forms.ValidationError(f"A bill of materials has at most {sboms.MAX_BYTES // 1024 // 1024} MB.")
        return file

    def clean(self) -> dict[str, Any]:
        """Before the image is read: is the version free, and is it signed at all?"""
        told = super().clean()
        version, types = told.get("version"), told.get("device_types")
        taken = Compatibility.objects.filter(version=version, device_type__in=types) if version and types else None
        named = ", ".join(str(each.device_type) for each in taken.select_related("device_type")) if taken else ""
        if named:
            self.add_error("version", f"{version} exists already for {named}. A version is never uploaded twice.")
        if (
            not told.get("signatures")
            and not told.get("signature_text")
            and not {"signatures", "signature_text"} & set(self.errors)
        ):
            self.add_error("signatures", "Choose at least one signature file, or paste a signature below.")
        return told

    def draft(self) -> Draft:
        """What the use case is told."""
        told = self.cleaned_data
        return Draft(
            version=told["version"],
            device_types=list(told["device_types"]),
            file_name=told["file"].name,
            min_version=told["min_version"],
            notes=told["notes"],
            tenants=list(told["tenants"]),
            min_battery_percent=told["min_battery_percent"],
            needs_mains=told["needs_mains"],
            min_free_bytes=told["min_free_bytes"],
            sbom_name=told["sbom"].name if told["sbom"] else "",
        )

    def all_signatures(self) -> dict[bytes, str]:
        """From files and from the text, each once, with what it is called."""
        told = self.cleaned_data
        files = [file.name or "" for file in self.files.getlist("signatures")]
        named = dict(zip(told["signatures"], files, strict=False))
        for number, signature in enumerate(told["signature_text"], 1):
            named.setdefault(signature, f"Pasted signature {number}")
        return named


def _version(text: str) -> str:
    try:
        return Version(text).text
    except VersionError as error:
        raise forms.ValidationError(f"{error}.") from error


def _signature(data: bytes, where: str | None) -> bytes:
    try:
        return signing.read_signature(data)
    except signing.SigningError as error:
        raise forms.ValidationError(f"{where}: {error}") from error
