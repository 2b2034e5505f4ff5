"""`python -m benchmarks.naive <prefix> <count>` in a portal's environment: ingest as one writes it on a first day.

A paho callback and `Model.objects.create`: one insert, one commit for each message, acknowledged by paho afterwards.
Says when it is subscribed, and ends after so many messages.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
django.setup()

import paho.mqtt.client as mqtt  # noqa: E402 (Django had to be set up)
from django.utils import timezone  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

from devices.models import Device  # noqa: E402
from devices.outgoing import connect_options  # noqa: E402
from telemetry.models import Reading, Schema  # noqa: E402


def main(prefix: str, count: int) -> None:
    """Take so many messages in."""
    name = prefix.strip("/").split("/")[0]
    devices = dict(Device.objects.filter(tenant__slug=name).values_list("device_id", "pk"))
    schema = Schema.objects.prefetch_related("metrics").get(device_type__slug=name)
    names = [metric.name for metric in schema.metrics.all()]
    taken = 0
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        nonlocal taken
        told = json.loads(message.payload)
        Reading.objects.create(
            device_id=devices[message.topic.split("/")[3]],
            ts=datetime.fromtimestamp(told["ts"] / 1000, UTC),
            msg_id=told["msg_id"],
            received_at=timezone.now(),
            schema_id=schema.pk,
            metrics=[told["values"].get(each) for each in names],
        )
        taken += 1
        if taken == count:
            client.disconnect()

    def on_subscribe(*_: Any) -> None:
        sys.stdout.write("subscribed\n")
        sys.stdout.flush()

    client.on_message = on_message

    def on_connect(*_: Any) -> None:
        client.subscribe(f"{prefix}/+/naive", qos=1)

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.connect(*connect_options(client))
    client.loop_forever()
    sys.stdout.write(json.dumps({"ended": time.time(), "taken": taken}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
