"""What the API's description promises, asked of the API itself, as each kind of person and as nobody.

Every question is rolled back. SCHEMATHESIS_EXAMPLES=100 asks many more.
"""

import os
from datetime import timedelta

import cbor2
import pytest
import schemathesis
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.middleware.csrf import _get_new_csrf_string
from django.test import Client
from django.utils import timezone
from schemathesis.config import SchemathesisConfig
from schemathesis.openapi.checks import RejectedPositiveData

from devices.models import Membership
from devices.people import api_tokens
from firmware import permits
from fleetportal.openapi.document import document
from tests.factories import StaffFactory, TenantFactory, member, put_back
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
"""Questions of each kind, beside those that come from the description's own examples and bounds."""
ROLES = ["anonymous", "viewer", "owner", "staff"]
CLOSEST = {"everybody": "anonymous", "members": "owner", "staff": "staff", "devices": "anonymous"}
"""Whom a door is for: its bounds are tried by them."""
REAL = {}
"""Values of path parameters that lead to rows of the company, by the end of the path before them."""
BEYOND = {"$.cursor", "$.since", "$.until", "$.seconds", "$.metric", "$.tenant", "$.timezone", "$.site"}
"""What may be wrong with values that each have the right form: the schema cannot say which exist, or go together."""


def closest(operation):
    return CLOSEST[operation.definition.raw["x-audience"]]


def described(coverage):
    """The API, to be asked questions."""
    generation = {
        "max-examples": EXAMPLES,
        "deterministic": True,
        "no-shrink": True,
        "allow-x00": False,
        "database": "none",
        "with-security-parameters": False,
    }
    phases = {"coverage": {"enabled": coverage}, "fuzzing": {"enabled": True}, "stateful": {"enabled": False}}
    config = SchemathesisConfig.from_dict({"generation": generation, "phases": phases})
    found = schemathesis.openapi.from_dict(document(), config=config)
    found.app = get_wsgi_application()
    found.hook(map_path_parameters)
    found.hook(filter_failure)
    return found


def map_path_parameters(context, path_parameters):
    """Every other time to what is there: most doors would say 404 otherwise."""
    for name, value in (path_parameters or {}).items():
        before = context.operation.path.partition("{" + name + "}")[0].rstrip("/").rpartition("/")[2]
        if before in REAL and len(str(value)) % 2:
            path_parameters[name] = REAL[before]
    return path_parameters


def filter_failure(context, failure, case, response):
    """A refusal by a rule which a schema cannot tell is no lie of the schema."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    if response.status_code in (412, 428):
        return problem["error_code"] not in ("precondition_failed", "precondition_required")
    told = problem["error_code"] in ("invalid", "parse_error") and problem.get("path") not in BEYOND
    return response.status_code != 400 or told


@schemathesis.serializer("application/cbor")
def cbor(context, value):
    return cbor2.dumps(value)


BOUNDS, ALL = described(coverage=True), described(coverage=False)


@pytest.fixture(scope="module")
def rows(_authorities, django_db_blocker):
    """A company with everything, for all questions."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)  # as Django's own test client does: the transaction must stay
    with django_db_blocker.unblock(), transaction.atomic():
        put_back(_authorities)
        own = world.add(TenantFactory(), 2)
        world.add(TenantFactory(), 3)
        permits.public_key()
        REAL.update(
            devices=own.device_id,
            exports=own.exports.get().pk,
            campaigns=own.updates.get().campaign_id,
            releases=own.updates.get().campaign.release_id,
        )
        yield {role: headers_of(role, own.tenant) for role in ROLES}
        transaction.set_rollback(True)
    for signal in signals:
        signal.connect(close_old_connections)


def headers_of(role, tenant):
    if role == "anonymous":
        return {}
    if role == "staff":
        client, secret = Client(), _get_new_csrf_string()
        client.force_login(StaffFactory())
        session = client.cookies["sessionid"].value
        return {"Cookie": f"sessionid={session}; csrftoken={secret}", "X-CSRFToken": secret}
    user = member(tenant, Membership.Role(role))
    _, token = api_tokens.make(user, tenant, "test", api_tokens.offered(role), timedelta(days=1), timezone.now())
    return {"Authorization": f"Bearer {token}"}


@BOUNDS.parametrize()
def test_keeps_its_promises_at_its_bounds(case, rows):
    ask(case, rows[closest(case.operation)])


@pytest.mark.chaos
@pytest.mark.parametrize("role", ROLES)
@ALL.parametrize()
def test_keeps_its_promises_to(role, case, rows):
    if role != closest(case.operation):  # they were asked more, at the bounds
        ask(case, rows[role])


def ask(case, headers):
    """Ask, judge the answer by all checks, and undo what it did. Nobody's count of requests is used up."""
    cache.clear()
    with transaction.atomic():
        case.call_and_validate(headers=headers)
        transaction.set_rollback(True)
