"""The contract as a page: whole, in need of nothing, and safe to look at."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from bento.contract.errors import CODES
from bento.contract.events import EventsRequest
from bento.contract.models import RecommendRequest, RecommendResponse
from bento.contract.openapi import document
from bento.contract.page import PAGE_HEADERS, draw

TAG = "hexbite:<b>&tag"


class Read(HTMLParser):
    """What a browser would see of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


@pytest.fixture(scope="module", params=[False, True], ids=["open", "keys"])
def page(request: pytest.FixtureRequest) -> str:
    return draw(document(version="7.8.9", api_keys=request.param), TAG)


def test_it_has_every_route_field_range_default_and_code(page: str) -> None:
    text = " ".join(Read(page).texts)
    contract = document(version="7.8.9")
    for path in contract["paths"]:
        assert path in text
    for name, field in RecommendRequest.model_fields.items():
        assert name in text
        assert (field.description or "").replace("`", "") in "".join(Read(page).texts)
    for said in ("-90 to 90", "0 to 50,000", "1 to 1,000", "5000.0", "at most 10,000 items", "7.8.9", TAG):
        assert said in text
    for code in set(CODES) - {"unauthorized", "too_many_requests"}:  # a key that is not asked for; nginx's
        assert code in text
    for name in contract["components"]["headers"]:
        assert name in text


def test_its_example_is_a_request_and_an_answer_of_the_contract(page: str) -> None:
    text = "".join(Read(page).texts)
    sent = re.findall(r"--data '(.*)'", text)
    assert len(sent) == 3
    EventsRequest.model_validate_json(sent.pop())
    for body in sent:
        RecommendRequest.model_validate_json(body)
    assert '$URL/recommend/u00007"' in text
    shown = re.findall(r'^\{\n  "restaurants".*?^\}', text, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for answer in shown:
        assert json.loads(answer) == RecommendResponse.model_validate_json(answer).model_dump(exclude_unset=True)


def test_it_loads_nothing_and_runs_nothing(page: str) -> None:
    read = Read(page)
    assert not {tag for tag, _ in read.tags} & {"script", "img", "iframe", "object", "embed", "form", "base", "svg"}
    for _, attributes in read.tags:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
    assert read.of("link") == [{"rel": "icon", "href": "data:,"}]
    # Relative, so that it is right below whatever prefix a proxy has.
    anchors = {f"#{attributes['id']}" for _, attributes in read.tags if "id" in attributes}
    assert {link["href"] for link in read.of("a")} <= {"docs.json", *anchors}
    style = page[page.index("<style>") + len("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in PAGE_HEADERS["content-security-policy"]


def test_a_tag_is_text_and_no_markup(page: str) -> None:
    assert "hexbite:&lt;b&gt;&amp;tag" in page
    assert "<b>" not in page


def test_who_cannot_see_it_finds_a_way_through(page: str) -> None:
    read = Read(page)
    assert read.of("html") == [{"lang": "en"}]
    assert len(read.of("h1")) == len(read.of("main")) == len(read.of("title")) == 1
    assert len(read.of("caption")) == len(read.of("table")) > 5
    assert all(head.get("scope") in ("col", "row") for head in read.of("th"))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {section["aria-labelledby"] for section in read.of("section")} <= set(ids)


def test_it_tells_of_a_key_where_one_is_needed() -> None:
    assert "Authorization: Bearer" in draw(document(version="1", api_keys=True), TAG)
    assert "Authorization: Bearer" not in draw(document(version="1"), TAG)
