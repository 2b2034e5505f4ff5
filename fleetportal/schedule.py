"""What the clock (Celery beat) has done, and how often. In a database it can be changed: these are its beginnings."""

from datetime import timedelta
from typing import Any


def schedule(rotation: timedelta, rollout: timedelta) -> dict[str, dict[str, Any]]:
    """Every task of the clock; how often certificates are rotated and campaigns moved on, settings say."""
    return {
        "heartbeat": _every(10.0, "fleetportal.tasks.beat_heartbeat"),
        "presence": _every(30.0, "devices.tasks.mark_silent_devices"),
        "rotation": _every(rotation.total_seconds(), "devices.tasks.rotate_certificates"),
        "rollout": _every(rollout.total_seconds(), "firmware.tasks.sweep"),
        "cut-offs": _every(30.0, "devices.tasks.shut_out_overdue"),
        "broker-files": _every(3600.0, "devices.tasks.refresh_broker_files"),
        "repeated-requests": _every(3600.0, "devices.tasks.forget_repeated_requests"),
        "partitions": _every(3600.0, "telemetry.tasks.make_partitions"),
        "strays": _every(300.0, "telemetry.tasks.heal_strays"),
        "dead-letters": _every(3600.0, "telemetry.tasks.purge_dead_letters"),
        "rollups": _every(60.0, "telemetry.tasks.roll_up"),
        "archive": _every(3600.0, "telemetry.tasks.archive_days"),
        "retention": _every(3600.0, "telemetry.tasks.apply_retention"),
        "sealing": _every(3600.0, "telemetry.tasks.seal_days"),
        "jobs": _every(60.0, "telemetry.tasks.tidy_jobs"),
        "firmware-store": _every(86400.0, "firmware.tasks.tidy"),
        "audits": _every(3600.0, "operations.tasks.run_audits"),
        "app-tokens": _every(3600.0, "fleetportal.tasks.tend_apps"),
        "urgent-audits": _every(60.0, "operations.tasks.run_urgent_audits"),
    }


def _every(seconds: float, task: str) -> dict[str, Any]:
    # A run that nobody did in time is not made up for: after a day without workers there is no pile of them.
    return {"task": task, "schedule": seconds, "options": {"expires": seconds}}
