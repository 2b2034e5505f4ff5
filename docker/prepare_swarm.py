"""`python docker/prepare_swarm.py OWN SWARM`: demo data, and the run file that tells the swarm where to go.

Sign-ins stay in the folder OWN, for the portal alone. The folder SWARM gets the claims, the CA certificate and the
public keys of firmware: the swarm is given what a maker would give to devices, and nothing else.
"""

import json
import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command


def main(own: Path, swarm: Path) -> None:
    """Seed the demo, reusing the claims of the last time, and write `run.json` and `ca.pem`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
    django.setup()
    call_command("prepare_demo", output=own / "demo.json")
    ca_file = swarm / "ca.pem"
    seeded = json.loads((own / "demo.json").read_text())
    run = {
        "device_https_url": settings.DEVICE_HTTPS_URL,
        "mqtt_host": settings.DEVICE_MQTT_HOST,
        "mqtt_port": settings.DEVICE_MQTT_PORT,
        "ca_file": str(ca_file),
        **{name: seeded[name] for name in ("claims", "firmware_keys", "permit_key")},
    }
    ca_file.write_bytes((settings.BROKER_DIRECTORY / "ca.pem").read_bytes())
    (swarm / "run.json").write_text(json.dumps(run, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
