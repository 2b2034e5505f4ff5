"""Runbooks as pages: every one of them, whole, and where a finding leads."""

from pathlib import Path

import pytest

from fleetportal import markdown
from tests.factories import StaffFactory, TenantFactory, member

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.md"))


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_page_whose_links_lead_to_others(client, name):
    client.force_login(StaffFactory())
    page = client.get(f"/admin/runbooks/{name}").content.decode()
    text = (FOLDER / name).read_text()
    assert f"<h1>{markdown.title(text)}</h1>" in page
    body = page[page.index('class="runbook"') :]
    assert "```" not in body
    assert "**" not in body
    for other in NAMES:
        if f"]({other})" in text:
            assert f'href="{other}"' in body


@pytest.mark.django_db
def test_a_kind_of_finding_is_a_place_in_the_index(client):
    client.force_login(StaffFactory())
    assert '<tr id="claim_old">' in client.get("/admin/runbooks/README.md").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["nothing.md", "..%2F..%2FREADME.md", "README", "x.py"])
def test_nothing_else_is_shown(client, name):
    client.force_login(StaffFactory())
    assert client.get(f"/admin/runbooks/{name}").status_code in (404, 302)


@pytest.mark.django_db
def test_customers_do_not_read_them(client):
    client.force_login(member(TenantFactory()))
    assert client.get("/admin/runbooks/README.md").status_code == 302


def test_text_is_escaped():
    assert markdown.inline("<script>`<b>`</script>") == "&lt;script&gt;<code>&lt;b&gt;</code>&lt;/script&gt;"
    assert markdown.inline("[x](javascript:alert)") == "x (<code>javascript:alert</code>)"
