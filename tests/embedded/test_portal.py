"""The portal's programs, as the one-command run starts them."""

import subprocess
import sys
from collections import defaultdict

from django.conf import settings

from firmware import artifacts
from fleetportal.embedded import ports
from fleetportal.embedded.place import Place
from fleetportal.embedded.portal import PORTS, Portal, environment


def queues(argv: list[str]) -> set[str]:
    return {queue for word in argv if word.startswith("-Q") for queue in word[2:].split(",")}


def test_uploads_arrive_beside_the_store_and_not_in_a_tmp_that_is_memory(place: Place) -> None:
    chosen = dict.fromkeys(PORTS, ports.any_free())
    env = environment(place, defaultdict(str), chosen, {}, 1)
    ports.hold([chosen["http"]])
    try:
        program = Portal(place, env, chosen).web()
    finally:
        ports.release([chosen["http"]])
    asked = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
    taken = subprocess.run(asked, env=program.env, capture_output=True, text=True, check=True).stdout.strip()
    assert taken == f"{env['FIRMWARE_DIRECTORY']}/{artifacts.INCOMING}"


def test_every_queue_has_a_worker_of_its_own(place: Place) -> None:
    portal = Portal(place, {}, ports.choose(PORTS, place.var / "ports.json"))
    workers = (portal.worker(), portal.rollout_worker(), portal.jobs_worker(), portal.urgent_worker())
    served = [queues(program.argv) for program in workers]
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    assert {settings.CELERY_TASK_DEFAULT_QUEUE, *routed} <= set.union(*served)
    assert served == [{settings.CELERY_TASK_DEFAULT_QUEUE}, {"rollout"}, {"jobs"}, {"urgent"}]
