"""Staff pages of this room, one noun a file. States are read-only here; use cases move them."""

from firmware.admin import (  # noqa: F401 (each registers its pages)
    campaigns,
    holds,
    keys,
    releases,
    rings,
    stop,
    tokens,
    updates,
)
