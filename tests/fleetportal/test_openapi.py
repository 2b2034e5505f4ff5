"""The API's description: whole, valid, and true of the routes."""

import json

import jsonschema_rs
import pytest
import yaml
from django.core.management import call_command
from drf_spectacular.validation import validate_schema

from devices.people.scopes import SCOPES
from fleetportal.openapi.document import document
from fleetportal.openapi.security import SCHEMES, WITH_SCOPES
from tests.fleetportal.test_views import routes

OPERATIONS = [
    pytest.param(path, method, operation, id=operation["operationId"])
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
]
operation = pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)


def resolved(node):
    while isinstance(node, dict) and "$ref" in node:
        at = document()
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = at
    return node


def schema_of(media):
    """A schema that stands alone, to judge an example by."""
    return {"$ref": "#/$defs/it", "$defs": {"it": media["schema"]}, "components": document()["components"]}


def test_is_made_without_a_warning(tmp_path):
    call_command("spectacular", fail_on_warn=True, validate=True, file=str(tmp_path / "schema.yaml"))
    told = yaml.safe_load((tmp_path / "schema.yaml").read_text())
    assert told["openapi"].startswith("3.1")
    assert told == document()


def test_is_valid():
    validate_schema(document())


@operation
def test_an_operation_is_told_whole(path, method, operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["summary"] != operation["description"]
    (tag,) = operation["tags"]
    assert tag in {each["name"] for each in document()["tags"]}
    assert operation["x-audience"] in ("everybody", "members", "staff", "devices")


@operation
def test_an_operation_says_who_may_ask(path, method, operation):
    assert operation["security"]
    for way in operation["security"]:
        for name, scopes in way.items():
            assert name in SCHEMES
            assert set(scopes) <= SCOPES.keys()
            assert bool(scopes) == (name in WITH_SCOPES)
    closed = operation["security"] != [{}]
    assert closed == ("401" in operation["responses"]) == ("403" in operation["responses"])


@operation
def test_mistakes_are_problem_details(path, method, operation):
    for status, answer in operation["responses"].items():
        if status[0] == "4":
            (media,) = resolved(answer)["content"].items()
            assert media[0] == "application/problem+json"
            assert media[1]["schema"] == {"$ref": "#/components/schemas/Problem"}


@operation
def test_every_body_has_an_example_and_it_fits(path, method, operation):
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for told in bodies + [resolved(each) for each in operation["responses"].values()]:
        for kind, media in told.get("content", {}).items():
            if "json" not in kind or path == "/api/v1/schema":
                continue
            assert media["examples"]
            for example in media["examples"].values():
                jsonschema_rs.validator_for(schema_of(media), validate_formats=True).validate(example["value"])


def test_operations_have_names_of_their_own():
    names = [each.values[2]["operationId"] for each in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.django_db
class TestTheDoor:
    def test_is_open_to_everybody(self, client):
        answer = client.get("/api/v1/schema")
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
        assert json.loads(answer.content) == document()

    def test_speaks_yaml(self, client):
        for answer in (
            client.get("/api/v1/schema?format=yaml"),
            client.get("/api/v1/schema", headers={"Accept": "application/yaml"}),
        ):
            assert answer["Content-Type"] == "application/yaml"
            assert yaml.safe_load(answer.content) == document()

    def test_says_when_nothing_is_new(self, client):
        etag = client.get("/api/v1/schema")["ETag"]
        assert client.get("/api/v1/schema", headers={"If-None-Match": etag}).status_code == 304
        assert client.get("/api/v1/schema?format=yaml")["ETag"] != etag

    def test_costs_no_query(self, client, django_assert_num_queries):
        with django_assert_num_queries(0):
            client.get("/api/v1/schema")
            client.get("/api/docs/")


@pytest.mark.django_db
def test_the_index_has_every_route(client, admin_client):
    told = admin_client.get("/api/v1/").json()
    names = {name for route, name in routes() if route.startswith("api/v1/")} - {"api-index"}
    assert len(told) == len(names)
    assert told["export_url"] == "http://testserver/api/v1/exports/{id}"
    assert told["campaigns_url"] == "http://testserver/api/v1/campaigns{?state*,release,limit,cursor}"


@pytest.mark.django_db
def test_the_page_has_every_operation_and_document(client):
    answer = client.get("/api/docs/")
    page = answer.content.decode()
    for each in OPERATIONS:
        assert f'id="{each.values[2]["operationId"]}"' in page
    for name in document()["components"]["schemas"]:
        assert f'id="document-{name}"' in page
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert " style=" not in page
    assert client.post("/api/docs/").status_code == 405
