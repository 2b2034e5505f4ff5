"""HTTP for devices: the same portal with a timetable of its own, behind TLS that asks for client certificates."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application

settings.ROOT_URLCONF = "fleetportal.device_urls"
application = get_asgi_application()
