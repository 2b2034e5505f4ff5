"""Software bills of materials: is it one, and of which kind? Pure."""

from __future__ import annotations

import json
from typing import Any

MAX_BYTES = 10 * 1024 * 1024
CYCLONEDX, SPDX = "CycloneDX", "SPDX"
_SPDX_3 = "https://spdx.org/rdf/3"


class SbomError(ValueError):
    """Not a bill of materials we know. The text is for people."""


def kind(data: bytes) -> str:
    """CycloneDX or SPDX, as JSON. Raises `SbomError`."""
    if len(data) > MAX_BYTES:
        raise SbomError(f"A bill of materials has at most {MAX_BYTES} bytes.")
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SbomError("The bill of materials is not JSON.") from error
    if isinstance(document, dict):
        if document.get("bomFormat") == CYCLONEDX and isinstance(document.get("specVersion"), str):
            return CYCLONEDX
        if str(document.get("spdxVersion", "")).startswith("SPDX-"):
            return SPDX
        context = document.get("@context")
        if isinstance(context, str) and context.startswith(_SPDX_3):
            return SPDX
    raise SbomError("The bill of materials is neither CycloneDX nor SPDX.")
