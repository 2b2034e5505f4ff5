"""The staff's pages of this room, one subject a file. States are read-only here; use cases move them."""

from devices.admin import (  # noqa: F401 (each registers its pages)
    approvals,
    apps,
    authorities,
    certificates,
    claim_codes,
    claims,
    devices,
    findings,
    people,
    places,
    renewals,
    sign_in,
    suppressions,
    tokens,
    trail,
)
