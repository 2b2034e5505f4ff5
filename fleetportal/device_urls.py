"""The HTTP timetable of the devices' own door: nothing for people, no cookie, no admin."""

from django.urls import path

from devices.api import ProvisionView
from fleetportal import health

urlpatterns = [
    path("api/v1/devices/provision", ProvisionView.as_view(), name="provision"),
    path("livez", health.livez, name="livez"),
]
