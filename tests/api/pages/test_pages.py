"""The pages at the root lead to everything that there is, and explain every code of a problem."""

import re
from pathlib import Path
from typing import Final

import httpx
import pytest

from api.http.problem_table import CODES
from api.pages.explanations import EXPLANATIONS
from api.settings import Settings
from tests.support.reference.errors import error_classes
from tests.support.services import CHECKOUT

pytestmark = pytest.mark.anyio

BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
REFERENCE: Final[Path] = CHECKOUT / "docs/reference/errors.md"


def links_of(page: httpx.Response) -> list[str]:
    """The addresses to which a page leads."""
    return re.findall(r'href="([^"]+)"', page.text)


@pytest.mark.parametrize("path", ["/", "/problems", "/problems/insufficient_funds"])
async def test_a_page_is_html_for_browsers_and_json_for_others(client: httpx.AsyncClient, path: str) -> None:
    """A cache keeps the two apart."""
    page = await client.get(path, headers=BROWSER)
    data = await client.get(path)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!DOCTYPE html>")
    assert (data.status_code, data.headers["content-type"]) == (200, "application/json")
    assert data.json()
    assert all("Accept" in answer.headers["vary"] for answer in (page, data))


async def test_the_home_page_leads_to_everything(client: httpx.AsyncClient) -> None:
    """Each of its links works, in the page and in the JSON."""
    page = await client.get("/", headers=BROWSER)
    links = (await client.get("/")).json()["links"]

    assert {"/docs", "/docs/openapi.json", "/api/v1/health", "/problems"} <= set(links.values())
    assert links_of(page) == [*links.values()]
    for address in links.values():
        assert (await client.get(address)).status_code in {200, 503}, address


async def test_the_pages_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """They work without the internet."""
    for path in ("/", "/problems", "/problems/route_not_found"):
        page = await client.get(path, headers=BROWSER)

        assert all(address.startswith("/") for address in links_of(page))
        assert "src=" not in page.text


async def test_every_code_has_its_page(client: httpx.AsyncClient) -> None:
    """The list leads to it, and it says the status, the title and what to do."""
    listed = links_of(await client.get("/problems", headers=BROWSER))

    assert sorted(listed) == sorted(f"/problems/{code}" for code in CODES)
    for code in CODES:
        page = await client.get(f"/problems/{code}", headers=BROWSER)
        explained = (await client.get(f"/problems/{code}")).json()
        assert (explained["code"], explained["type"]) == (code, f"/problems/{code}")
        assert f"<code>{code}</code>" in page.text
        assert str(explained["status"]) in page.text


async def test_the_type_of_a_problem_is_the_address_of_its_page(client: httpx.AsyncClient) -> None:
    """A developer who meets the problem can open it."""
    problem = (await client.get("/api/v1/users/7")).json()

    page = await client.get(problem["type"], headers=BROWSER)

    assert page.status_code == 200
    assert f"<h1>{problem['title']}</h1>" in page.text


def test_a_page_says_the_same_as_the_reference() -> None:
    """Both are made of one table."""
    reference = REFERENCE.read_text("utf-8")
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=\n\n##|\Z)", reference, re.MULTILINE | re.DOTALL))

    for code in {each.code for each in error_classes()} & set(EXPLANATIONS):
        explained = EXPLANATIONS[code]
        assert f"*{explained.title}.* {explained.detail}" in sections[code]
        assert explained.about in sections[code]


class TestTitle:
    """The title is a setting, and may have any text."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Set a title with markup."""
        return Settings.load({"APP_NAME": "<Books & Co>"})

    async def test_it_is_text(self, client: httpx.AsyncClient) -> None:
        """The markup is escaped."""
        page = await client.get("/", headers=BROWSER)

        assert "<h1>&lt;Books &amp; Co&gt;</h1>" in page.text
