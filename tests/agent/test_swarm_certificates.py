"""A swarm and its certificates, with real processes."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from agent import identity
from devices import contract
from tests.agent.authority import Authority
from tests.agent.portal import Issuer
from tests.agent.town import COUNT, Town, heard, stopped


def test_a_swarm_renews_all_its_certificates_without_a_refused_connection(town: Town) -> None:
    town.listener.issuer = issuer = Issuer(town.authority)

    async def scenario() -> None:
        ear = town.listener
        process = town.swarm()
        await ear.until(lambda: len(town.born()) == COUNT)
        for topic, payload, _ in list(ear.messages):
            if topic.channel == "status":
                serial = json.loads(payload)["certificate"]["serial"]
                ask = contract.RenewCertificate(serial, 0)
                await ear.say(str(replace(topic, channel=contract.CERTIFICATE_RENEW)), contract.encode(ask))
        await ear.until(lambda: set(issuer.serials) <= set(ear.births()) and len(issuer.serials) == COUNT)
        assert process.stderr is not None
        told = ""
        while "rotated" not in told or "rotated 0" in told:
            told = (await asyncio.to_thread(process.stderr.readline)).decode()
        assert f"online {COUNT}/{COUNT}" in told
        assert f"rotated {COUNT}, refused connections 0" in told
        await stopped(process)
        assert town.listener.stored.keys() <= {UUID(msg_id) for msg_id in town.ledger()}
        process = town.swarm()
        await ear.until(lambda: town.births() == 3 * COUNT)
        assert set(ear.births()[-COUNT:]) == set(issuer.serials)
        await stopped(process)

    heard(town, scenario)


def test_a_certificate_can_be_the_claim(town: Town, tmp_path: Path) -> None:
    claims = Authority(tmp_path)
    town.door.claims, key = claims.root, identity.new_key()
    file = tmp_path / "claim.pem"
    file.write_bytes(identity.bundle(key, claims.sign(identity.csr(key, "claim"), "claim"), ""))
    options = ("--ca", str(town.authority.root), "--device-type", "pump", "--hardware-id", "p-1", "--interval", "0.1")

    async def scenario() -> None:
        with town.door.open() as url:  # a door that wants to see certificates
            process = town.agent("run", "--server", url, *options, "--claim-certificate", str(file))
            await town.listener.until(lambda: town.born() == {"d-p-1"})
            await stopped(process)

    heard(town, scenario)
    for claim in ((), ("--claim", "x", "--claim-certificate", str(file))):
        process = town.agent("run", "--server", town.url, *options, *claim)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 2
        assert b"--claim" in said
