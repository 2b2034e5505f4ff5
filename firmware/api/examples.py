"""What questions and answers of this room look like, for the API's description."""

from typing import Any, Final

_AT: Final = "2026-11-21T17:00:00Z"
_URL: Final = "https://portal.example.com/api/v1"

PLAN: Final[dict[str, Any]] = {
    "name": "Coolers to 1.4.2",
    "release": 7,
    "filters": {"tenants": ["north-dairies"], "tags": ["cooler"]},
    "stages": [{"percent": 5, "soak_seconds": 3600}, {"percent": 100, "soak_seconds": 1800}],
    "gates": {"error_rate_bp": 200},
}
ROW: Final[dict[str, Any]] = {
    "id": 12,
    "url": f"{_URL}/campaigns/12",
    "name": "Coolers to 1.4.2",
    "release": 7,
    "version": "1.4.2",
    "rollback_of": None,
    "state": "running",
    "pause_reason": "",
    "state_reason": "",
    "author": "ada",
    "approved_by": "grace",
    "targets": 480,
    "created_at": _AT,
    "approved_at": _AT,
    "starts_at": None,
    "started_at": _AT,
    "paused_at": None,
    "ends_at": None,
    "ended_at": None,
}
CAMPAIGN: Final[dict[str, Any]] = ROW | {
    "notes": "",
    "filters": {"tenants": ["north-dairies"], "groups": [], "sites": [], "tags": ["cooler"], "versions": []},
    "ring": None,
    "continuous": False,
    "spread_sites": False,
    "pace": {
        "max_concurrent": 500,
        "offers_per_minute": 600,
        "use_windows": True,
        "reboot_jitter_seconds": 0,
        "download_attempts": 5,
    },
    "gates": {
        "rolls_back": False,
        "error_rate_bp": 200,
        "offline_rate_bp": 500,
        "reject_rate_bp": 2000,
        "burn_rate": 14,
        "success_target_bp": 9900,
        "min_executed": 20,
        "offline_grace_seconds": 900,
        "verify_seconds": 600,
        "install_timeout_seconds": 3600,
        "stage_timeout_seconds": 604800,
    },
    "stages": [
        {
            "percent": 100,
            "soak_seconds": 1800,
            "number": 1,
            "state": "rolling",
            "size": 480,
            "started_at": _AT,
            "soak_from": None,
            "ended_at": None,
        }
    ],
    "updates_url": f"{_URL}/campaigns/12/updates",
    "verdicts_url": f"{_URL}/campaigns/12/verdicts",
    "figures": {"succeeded": 311, "failed": 2},
    "advanced_at": _AT,
}
OWN_CAMPAIGN: Final[dict[str, Any]] = {
    "id": 12,
    "url": f"{_URL}/campaigns/12",
    "name": "Update to 1.4.2",
    "version": "1.4.2",
    "state": "running",
    "devices": {"total": 40, "waiting": 12, "updating": 3, "succeeded": 24, "failed": 1, "rolled_back": 0},
    "updates_url": f"{_URL}/campaigns/12/updates",
}
OWN_UPDATE: Final[dict[str, Any]] = {
    "device_id": "d-7kq2m4x9t3vb",
    "version": "1.4.2",
    "from_version": "1.4.1",
    "state": "downloading",
    "waiting": "",
    "reason_code": "",
    "text": "downloading 40 %",
    "progress": 40,
    "offered_at": _AT,
    "ended_at": None,
    "changed_at": _AT,
}
UPDATE: Final[dict[str, Any]] = OWN_UPDATE | {
    "update_id": "0193a1b2-c3d4-4e5f-8a6b-7c8d9e0f1a2b",
    "serial": "SN-1042",
    "tenant": "north-dairies",
    "stage": 1,
    "attempt": 1,
    "detail": "",
    "fallback": "1.4.1",
    "installing_at": None,
    "rebooting_at": None,
    "needs_attention": False,
}
VERDICT: Final[dict[str, Any]] = {
    "id": 31,
    "at": _AT,
    "stage": 1,
    "gate": "error_rate",
    "action": "pause",
    "text": "6 of 120 failed: 5 %, and at most 2 % are allowed.",
    "figures": {"failed": 6, "executed": 120, "limit_bp": 200},
    "user": "",
}
DRY_RUN: Final[dict[str, Any]] = {
    "matching": 500,
    "targets": 480,
    "offline": 12,
    "busy": 0,
    "stages": [{"percent": 5, "size": 24}, {"percent": 100, "size": 480}],
    "skipped": [
        {
            "reason_code": "already_installed",
            "text": "run this version already",
            "count": 20,
            "examples": ["d-7kq2m4x9t3vb"],
        }
    ],
    "duration_seconds": 14400,
    "problems": [],
}
STOPPED: Final[dict[str, Any]] = {"stopped": True, "since": _AT, "by": "ada", "reason": "Smoke from a battery."}
GOING: Final[dict[str, Any]] = {"stopped": False, "since": None, "by": None, "reason": ""}
RELEASE_ROW: Final[dict[str, Any]] = {
    "id": 7,
    "url": f"{_URL}/releases/7",
    "version": "1.4.2",
    "device_types": ["cooler"],
    "tenants": [],
    "min_version": "1.2.0",
    "notes": "Saves power at night.",
    "preconditions": {"min_battery_percent": 30, "needs_mains": False, "min_free_bytes": 0},
    "state": "ready",
    "artifact": {
        "file_name": "cooler-1.4.2.bin",
        "size": 524288,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sha1": "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
        "md5": "098f6bcd4621d373cade4e832627b4f6",
        "url": f"{_URL}/releases/7/artifact",
    },
    "signatures": [{"key": "release 2026", "fingerprint": "SHA256:4f1b2b0b82", "algorithm": "ed25519"}],
    "sbom": {
        "name": "cooler-1.4.2.cdx.json",
        "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        "url": f"{_URL}/releases/7/sbom",
    },
    "uploaded_by": "build server",
    "created_at": _AT,
}
RELEASE: Final[dict[str, Any]] = RELEASE_ROW | {"problems": []}
UPLOAD: Final[dict[str, Any]] = {
    "version": "1.4.2",
    "device_types": ["cooler"],
    "file": "(the file)",
    "signature": ["MEUCIQ…"],
    "notes": "Saves power at night.",
}
KEYS: Final[dict[str, Any]] = {
    "firmware_keys": ["-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n"],
    "permit_key": "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n",
    "keys": [
        {
            "name": "release 2026",
            "algorithm": "ed25519",
            "fingerprint": "SHA256:4f1b2b0b82",
            "device_types": [],
            "not_after": "2028-01-01T00:00:00Z",
        }
    ],
}


def page(*rows: dict[str, Any]) -> dict[str, Any]:
    """A page of a list."""
    return {"next": None, "previous": None, "results": list(rows)}
