"""`python -m tests.probing` in a portal's environment: how long a task of the default queue waits, again and again.

Prints a latency (s) a line until its input ends. The task is the heartbeat, which leaves the time it ran at.
"""

import os
import sys
import threading
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
django.setup()

from django.core.cache import cache  # noqa: E402 (Django had to be set up)

from fleetportal.tasks import BEAT_KEY, beat_heartbeat  # noqa: E402

EVERY_SECONDS = 0.25
_STEP = 0.005


def main() -> None:
    """Until there is nobody to tell."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        sent = time.time()
        beat_heartbeat.delay()
        while (cache.get(BEAT_KEY) or 0) < sent and not ended.is_set():
            time.sleep(_STEP)
        sys.stdout.write(f"{time.time() - sent:.4f}\n")
        sys.stdout.flush()
        ended.wait(EVERY_SECONDS)


if __name__ == "__main__":
    main()
