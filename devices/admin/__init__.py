"""The staff's pages of this room, one subject a file. States are read-only here; use cases move them."""

from devices.admin import (  # noqa: F401 (each registers its pages)
    approvals,
    authorities,
    certificates,
    claims,
    devices,
    findings,
    places,
    renewals,
    suppressions,
    tokens,
)
