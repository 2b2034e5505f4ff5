"""A swarm updates its firmware: real processes, a real broker, a real HTTPS door, and faults."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from uuid import NAMESPACE_DNS, UUID, uuid5

import pytest

from agent.faults import BadRelease, Luck
from agent.image import Header, Health
from devices.contract import Offer, Status, Topic, UpdateReport, decode
from firmware.reporting import Facts, born, receive
from firmware.states import UpdateState
from tests.agent.https import Question, Reply, serving
from tests.agent.releases import Signer, UpdateDoor, make_image, make_offer
from tests.agent.town import Town, heard, stopped

COUNT = 20
KINDS = ("cold-logger", "energy-meter", "pump")


class Campaign:
    """One release for everybody, and what the portal makes of it."""

    def __init__(self, town: Town, door: UpdateDoor, signer: Signer) -> None:
        self.town, self.door = town, door
        path = make_image(town.folder, "1.1.0", *KINDS, size=20_000)
        door.hold(path)
        self._offer = lambda update_id: make_offer(path, signer, update_id=update_id, reboot_jitter_seconds=10)
        self.facts: dict[str, Facts] = {}
        self._seen = 0
        town.listener.offers = self._open

    def _open(self, topic: Topic) -> Offer:
        return self._offer(update_of(topic.device_id))

    def judge(self) -> dict[str, Facts]:
        """The updates after all that was heard."""
        messages = self.town.listener.messages
        for topic, payload, _ in messages[self._seen :]:
            if topic.channel == "status" and (word := decode(payload, Status)).state == "online":
                begun = Facts(UpdateState.NOTIFIED, 1, "1.1.0", "1.0.0", offered_boot=word.boot_id)
                known = self.facts.setdefault(topic.device_id, begun)
                self.facts[topic.device_id] = born(known, word.firmware_version, word.boot_id)
            elif topic.channel == "update_status":
                known = self.facts[topic.device_id]
                self.facts[topic.device_id] = receive(known, decode(payload, UpdateReport))
        self._seen = len(messages)
        return self.facts

    def ended(self) -> bool:
        """Did every device say how it went?"""
        facts = self.judge().values()
        return len(facts) == COUNT and all(one.checked or one.state is UpdateState.ROLLED_BACK for one in facts)


def update_of(device_id: str) -> UUID:
    return uuid5(NAMESPACE_DNS, device_id)


@pytest.fixture
def campaign(town: Town) -> Iterator[Campaign]:
    door, signer = UpdateDoor(town.authority), Signer()

    def reply(question: Question) -> Reply:
        if question.path != "/api/v1/devices/provision":
            return door.reply(question)
        claim = question.headers.get("Authorization")
        status, headers, payload = town.door.answer(claim, json.loads(question.body), question.certificate)
        return status, headers, json.dumps(payload).encode()

    with serving(town.authority, reply, town.authority.root) as url:
        path = town.folder / "run.json"
        run = json.loads(path.read_text())
        run |= {"device_https_url": url, "firmware_keys": [signer.pem], "permit_key": signer.pem}
        path.write_text(json.dumps(run))
        yield Campaign(town, door, signer)


def test_a_swarm_of_twenty_updates_itself(town: Town, campaign: Campaign) -> None:
    async def scenario() -> None:
        process = town.swarm("--count", str(COUNT))
        await town.listener.until(campaign.ended, seconds=60)
        assert {(one.state, one.checked) for one in campaign.facts.values()} == {(UpdateState.VERIFYING, True)}
        assert process.stderr is not None
        told = ""
        while f"updating 0, {COUNT} run 1.1.0" not in told:
            told = (await asyncio.to_thread(process.stderr.readline)).decode()
            assert "Traceback" not in told
        await stopped(process)
        town.listener.messages.clear()
        process = town.swarm("--count", str(COUNT))  # and stays with it
        await town.listener.until(lambda: len(town.born()) == COUNT)
        births = [word for word in town.listener.payloads("status") if word["state"] == "online"]
        assert {word["firmware_version"] for word in births} == {"1.1.0"}
        await stopped(process)

    heard(town, scenario)
    assert len(campaign.door.fetched) == COUNT


def test_a_bad_release_on_a_bad_day_ends_with_one_version_everywhere(town: Town, campaign: Campaign) -> None:
    faults = "drop=5,duplicate=10,delay=5,reorder=5,power_cut=1,slow=20,skew=3600"
    line = ("--count", str(COUNT), "--bad-release", "1.1.0:30:self_check", "--faults", faults)
    names = [f"sim-{number:05d}" for number in range(1, COUNT + 1)]
    luck = {f"d-{name}": Luck(f"1/{name}", None, (BadRelease("1.1.0", 30),)) for name in names}
    bad = {name for name, one in luck.items() if one.health(Header("1.1.0", [])) is not Health.GOOD}
    assert 0 < len(bad) < COUNT

    async def scenario() -> None:
        process = town.swarm(*line)
        await town.listener.until(lambda: len(town.listener.payloads("update_status")) > 2 * COUNT, seconds=60)
        process.kill()
        await asyncio.to_thread(process.wait)
        process = town.swarm(*line)
        await town.listener.until(campaign.ended, seconds=90)
        await stopped(process)

    heard(town, scenario)
    ends = Counter(one.state for one in campaign.facts.values())
    back = {name for name, one in campaign.facts.items() if one.state is UpdateState.ROLLED_BACK}
    assert bad <= back
    assert ends[UpdateState.VERIFYING] > 0
    last = {topic.device_id: payload for topic, payload, _ in town.listener.messages if topic.channel == "status"}
    for name, payload in last.items():
        assert decode(payload, Status).firmware_version == ("1.0.0" if name in back else "1.1.0")
