"""A believable company to look at: tenants, people of every role, device types with schemas, claims for the swarm."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group as StaffGroup
from django.contrib.auth.models import User
from django.db import transaction

from devices import claims
from devices.errors import ProvisioningError
from devices.models import DeviceType, Group, MaintenanceWindow, Membership, Site, Tenant
from telemetry.models import Metric, Schema

TENANTS = {
    "acme-foods": ("Acme Foods", "acme", [("Hamburg cold store", "Hamburg, DE"), ("Lyon depot", "Lyon, FR")]),
    "nordwatt": ("Nordwatt", "nordwatt", [("Bergen works", "Bergen, NO"), ("Aarhus pumping station", "Aarhus, DK")]),
}
_B, _N = Metric.Kind.BOOLEAN, Metric.Kind.NUMBER
# name, label, unit, kind, minimum, maximum
TYPES: dict[str, tuple[str, list[tuple[str, str, str, str, float | None, float | None]]]] = {
    "cold-logger": (
        "Cold-chain logger",
        [
            ("temperature_c", "Temperature", "°C", _N, -60, 80),
            ("humidity_pct", "Humidity", "%", _N, 0, 100),
            ("battery_v", "Battery", "V", _N, 0, 5),
            ("door_open", "Door open", "", _B, None, None),
        ],
    ),
    "energy-meter": (
        "Energy meter",
        [
            ("power_w", "Power", "W", _N, 0, 50_000),
            ("voltage_v", "Voltage", "V", _N, 0, 500),
            ("current_a", "Current", "A", _N, 0, 200),
            ("frequency_hz", "Frequency", "Hz", _N, 40, 70),
            ("energy_kwh", "Energy", "kWh", _N, 0, None),
        ],
    ),
    "pump": (
        "Pump",
        [
            ("flow_lpm", "Flow", "l/min", _N, 0, 500),
            ("pressure_bar", "Pressure", "bar", _N, 0, 25),
            ("vibration_mm_s", "Vibration", "mm/s", _N, 0, 100),
            ("motor_temp_c", "Motor temperature", "°C", _N, -40, 200),
            ("running", "Running", "", _B, None, None),
        ],
    ),
}
_CLAIM_LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Person:
    """A sign-in of the demo."""

    role: str
    username: str
    tenant: str = ""
    """Slug; empty for staff."""


STAFF = [
    Person("administrator", "admin"),
    Person("fleet operator", "operator"),
    Person("firmware author", "author"),
    Person("firmware approver", "approver"),
    Person("security officer", "security"),
    Person("support", "support"),
]


@transaction.atomic
def seed(password: str, known: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Make what is missing; safe to repeat. Returns sign-ins and claim tokens, reusing the tokens in `known`."""
    types = {slug: _device_type(slug) for slug in TYPES}
    people = list(STAFF)
    accounts = _Accounts(password, {each["username"] for each in known.get("sign_ins", [])})
    for person in people:
        accounts.staff(person)
    claims = []
    tokens = {(claim["tenant"], claim["device_type"]): claim["token"] for claim in known.get("claims", [])}
    for slug, (name, prefix, places) in TENANTS.items():
        tenant, _ = Tenant.objects.get_or_create(slug=slug, defaults={"name": name})
        sites = [
            Site.objects.get_or_create(tenant=tenant, name=site, defaults={"region": region})[0]
            for site, region in places
        ]
        group, made = Group.objects.get_or_create(tenant=tenant, name="Pilot")
        if made:
            MaintenanceWindow.objects.create(group=group, weekdays="7", starts="02:00", minutes=120)
        for role in Membership.Role:
            people.append(Person(role.value, f"{prefix}-{role.value}", slug))
            Membership.objects.get_or_create(tenant=tenant, user=accounts.user(people[-1].username), role=role)
        for index, (kind, device_type) in enumerate(types.items()):
            token = _claim(tokens.get((slug, kind)), tenant, device_type, sites[index % len(sites)], now)
            claims.append({"token": token, "tenant": slug, "device_type": kind})
    return {
        "sign_ins": [
            asdict(each) | {"password": password, "url": "/" if each.tenant else "/admin/"} for each in people
        ],
        "claims": claims,
        "claim_token": claims[0]["token"],
        "tenant": claims[0]["tenant"],
        "device_type": claims[0]["device_type"],
    }


def _device_type(slug: str) -> DeviceType:
    name, metrics = TYPES[slug]
    device_type, made = DeviceType.objects.get_or_create(
        slug=slug, defaults={"name": name, "silence_seconds": 60, "synthetic": True}
    )
    if made:
        schema = Schema.objects.create(device_type=device_type, version=1)
        for position, (key, label, unit, kind, low, high) in enumerate(metrics):
            Metric.objects.create(
                schema=schema, position=position, name=key, label=label, unit=unit, kind=kind, minimum=low, maximum=high
            )
    return device_type


class _Accounts:
    """Users with the demo's password, hashed once: a good hash is slow, and there are a dozen of them."""

    def __init__(self, password: str, known: set[str]) -> None:
        self._password = password
        self._known = known

    @cached_property
    def _hash(self) -> str:
        return make_password(self._password)

    def user(self, username: str) -> User:
        """The user, made if missing; one the last run made keeps the password it has."""
        user, made = User.objects.get_or_create(username=username)
        if made or username not in self._known:
            user.password = self._hash
            user.email = f"{username}@example.com"
            user.save()
        EmailAddress.objects.get_or_create(
            user=user, primary=True, defaults={"email": f"{username}@example.com", "verified": True}
        )
        return user

    def staff(self, person: Person) -> None:
        """Somebody of the company."""
        user = self.user(person.username)
        user.is_staff, user.is_superuser = True, person.role == "administrator"
        user.save()
        user.groups.set(StaffGroup.objects.filter(name__iexact=person.role))


def _claim(token: str | None, tenant: Tenant, device_type: DeviceType, site: Site, now: datetime) -> str:
    try:
        if token and claims.of_token(token).expires_at > now + timedelta(days=1):
            return token
    except ProvisioningError:
        pass  # a token of a database that was thrown away
    _, fresh = claims.make_claim(
        tenant=tenant,
        device_type=device_type,
        site=site,
        name=f"Demo {device_type.name.lower()}s",
        max_devices=10_000,
        lifetime=_CLAIM_LIFETIME,
        now=now,
    )
    return fresh


def dump(result: dict[str, Any]) -> str:
    """JSON text of what `seed` returned."""
    return json.dumps(result, indent=2)
