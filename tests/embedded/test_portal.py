"""The portal's programs, as the one-command run starts them."""

from django.conf import settings

from fleetportal.embedded import ports
from fleetportal.embedded.place import Place
from fleetportal.embedded.portal import PORTS, Portal


def queues(argv: list[str]) -> set[str]:
    return {queue for word in argv if word.startswith("-Q") for queue in word[2:].split(",")}


def test_some_worker_serves_every_queue_and_one_does_nothing_but_what_is_urgent(place: Place) -> None:
    portal = Portal(place, {}, ports.choose(PORTS, place.var / "ports.json"))
    served = [queues(program.argv) for program in (portal.rollout_worker(), portal.urgent_worker())]
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    assert {settings.CELERY_TASK_DEFAULT_QUEUE, *routed} <= set.union(*served)
    assert served[1] == routed == {"urgent"}
    assert "urgent" not in served[0]
