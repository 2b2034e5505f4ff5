"""Registry devices that answer offers: rows in the portal's database, and one connection that speaks for all of them.

They speak at the portal's own door of the broker, so neither TLS nor a process for each device is measured or needed;
what the portal gets to hear, and in which order, is what devices say.
"""

import heapq
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from devices import contract
from devices.contract import ReportState, State

FIRST_VERSION, FIRST_SESSION, FIRST_BOOT = "1.0.0", 1, 1
"""What tests/registry.py writes into the devices' presence."""


@dataclass
class Device:
    """What a device remembers."""

    topic: contract.Topic
    version: str = FIRST_VERSION
    session: int = FIRST_SESSION
    boot: int = FIRST_BOOT
    seq: int = 0
    attempts: dict[str, list[int]] = field(default_factory=dict)
    """Attempts by update, as they were offered and begun."""
    heard: int = 0
    """Offers heard, those said again included."""
    busy: bool = False

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boot}"


class Reporters:
    """All devices below one topic prefix."""

    def __init__(
        self,
        url: str,
        prefix: str,
        outcome: Callable[[str, str], str] = lambda *_: "good",
        pause: float = 0.0,
    ) -> None:
        """`prefix`: /tenant/type. `outcome` of (device id, version): good, hash, or boot (does not start).

        `pause`: longest time (s) between two steps.
        """
        self.devices: dict[str, Device] = {}
        self._prefix, self._outcome, self._pause = prefix, outcome, pause
        self._random = random.Random(7)
        self._due: list[tuple[float, int, Device, Iterator[None]]] = []
        self._number = 0
        self._change = threading.Condition()
        self._ending = False
        where = urlsplit(url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"reporters{prefix.replace('/', '-')}")
        self._client.username_pw_set(unquote(where.username or ""), unquote(where.password or ""))
        self._client.max_inflight_messages_set(2000)
        self._client.max_queued_messages_set(0)
        self._client.on_message = self._on_message
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{prefix}/+/{contract.OTA}", qos=1)
        self._client.connect(where.hostname or "", where.port or 1883)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert subscribed.wait(10)

    def close(self) -> None:
        """All of them at once."""
        with self._change:
            self._ending = True
            self._change.notify()
        self._thread.join(10)
        self._client.disconnect()
        self._client.loop_stop()

    def reconnect(self, device_ids: Iterable[str]) -> None:
        """These lose their connections and come back: a will, and a birth in the same boot."""
        for device_id in device_ids:
            device = self._device(contract.Topic.parse(f"{self._prefix}/{device_id}/{contract.OTA}"))
            if not device.busy:
                self._will(device)
                self._birth(device)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        offer = contract.decode(bytes(message.payload), contract.Offer)
        device = self._device(contract.Topic.parse(message.topic))
        if offer.state is not contract.OfferState.OPEN:
            return
        device.heard += 1
        begun = device.attempts.setdefault(str(offer.update_id), [])
        if offer.attempt in begun or device.busy:
            return  # said again
        begun.append(offer.attempt)
        device.busy = True
        steps = self._install(device, offer)
        if self._pause:
            self._later(device, steps)
        else:
            for _ in steps:
                pass

    def _device(self, topic: contract.Topic) -> Device:
        return self.devices.setdefault(topic.device_id, Device(topic))

    def _install(self, device: Device, offer: contract.Offer) -> Iterator[None]:
        """An installation, step by step."""
        device.seq = 0
        outcome = self._outcome(device.topic.device_id, offer.version)
        self._report(device, offer, ReportState.NOTIFIED)
        yield
        self._report(device, offer, ReportState.DOWNLOADING, progress=50)
        yield
        if outcome == "hash":
            device.busy = False
            self._report(device, offer, ReportState.FAILED, reason="hash")
            return
        self._report(device, offer, ReportState.DOWNLOADED)
        yield
        self._report(device, offer, ReportState.INSTALLING)
        yield
        self._report(device, offer, ReportState.REBOOTING)
        self._will(device)
        yield
        device.boot += 1
        if outcome == "good":
            device.version = offer.version
        device.busy = False
        self._birth(device)
        if outcome == "good":
            self._report(device, offer, ReportState.VERIFYING)
            self._report(device, offer, ReportState.SUCCEEDED)
        else:
            self._report(device, offer, ReportState.ROLLED_BACK, reason="boot_failed")

    def _report(
        self, device: Device, offer: contract.Offer, state: ReportState, progress: int | None = None, reason: str = ""
    ) -> None:
        device.seq += 1
        self._say(
            device,
            contract.UPDATE_STATUS,
            contract.UpdateReport(
                offer.update_id, offer.attempt, device.seq, state, device.version, device.boot_id, progress, reason
            ),
        )

    def _will(self, device: Device) -> None:
        self._status(device, State.OFFLINE)

    def _birth(self, device: Device) -> None:
        device.session += 1
        self._status(device, State.ONLINE)

    def _status(self, device: Device, state: State) -> None:
        now = int(time.time() * 1000)
        told = contract.Status(state, device.session, device.boot_id, now, device.version, "reporters")
        self._say(device, contract.STATUS, told)

    def _say(self, device: Device, channel: str, payload: object) -> None:
        topic = str(contract.Topic(device.topic.tenant, device.topic.device_type, device.topic.device_id, channel))
        self._client.publish(topic, contract.encode(payload), qos=1, retain=True)

    # --- steps that take time ---

    def _later(self, device: Device, steps: Iterator[None]) -> None:
        with self._change:
            self._number += 1
            at = time.monotonic() + self._random.random() * self._pause
            heapq.heappush(self._due, (at, self._number, device, steps))
            self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._ending and (not self._due or self._due[0][0] > time.monotonic()):
                    wait = self._due[0][0] - time.monotonic() if self._due else None
                    self._change.wait(wait)
                if self._ending:
                    return
                _, _, device, steps = heapq.heappop(self._due)
            if next(steps, self) is not self:
                self._later(device, steps)
