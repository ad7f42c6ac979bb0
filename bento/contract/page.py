"""The contract as a page for people: drawn from the OpenAPI document, and in need of nothing beside itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_Json = Mapping[str, Any]

_STYLE: Final = files("bento.contract").joinpath("page.css").read_text(encoding="utf-8")
_STYLE_SHA256: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What a browser may do with the page: show it, in this style. The icon is an empty one, so that none is asked for.
PAGE_HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_SHA256}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

# Names of fields and headers in the document's descriptions.
_CODE: Final = re.compile(r"`+([^`]+)`+")


def _marked(text: str) -> Markup:
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("bento.contract", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters["marked"] = _marked
_TEMPLATE: Final = _ENVIRONMENT.get_template("page.html.j2")


class Field(NamedTuple):
    """A field of a request or an answer, in words."""

    name: str
    kind: str
    span: str
    default: str
    description: str


class Error(NamedTuple):
    """What a route says where it refuses."""

    status: str
    code: str
    message: str


class Operation(NamedTuple):
    """A route and a method of it. ``asked`` and ``answered`` are an example, None where no body is sent."""

    method: str
    path: str
    summary: str
    sent: list[Field]
    asked: str | None
    answered: str | None
    media_type: str
    errors: list[Error]


def draw(document: _Json, model: str) -> str:
    """The page as HTML. ``model`` is the tag of the one that answers."""
    schemas = document["components"]["schemas"]
    operations = [
        _operation(document, path, method, operations[method], operations.get("parameters", []))
        for path, operations in document["paths"].items()
        for method in ("post", "get")
        if method in operations
    ]
    return _TEMPLATE.render(
        style=Markup(_STYLE),  # noqa: S704 - a file of ours
        info=document["info"],
        model=model,
        has_keys="securitySchemes" in document["components"],
        operations=operations,
        headers=[(name, header["description"]) for name, header in document["components"]["headers"].items()],
        answers=[
            (name, schemas[name]["description"], [field[:3] for field in _fields(schemas[name])])
            for answer in ("RecommendResponse", "EventsResponse")
            for name in _reached(schemas, answer)
        ],
        error=schemas["ErrorDetail"]["description"],
        errors=sorted({error for operation in operations for error in operation.errors}),
    )


def _operation(document: _Json, path: str, method: str, operation: _Json, parameters: list[_Json]) -> Operation:
    sent, asked, filled = [], None, path
    for parameter in parameters:
        in_path = f"{{{parameter['name']}}}"
        sent.append(_field(in_path, parameter["schema"], parameter["description"], "in the path"))
        filled = filled.replace(in_path, parameter["example"])
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        sent += _fields(document["components"]["schemas"][_name(content["schema"])])
        asked = _curl(filled, content["example"], has_key="security" in operation)
    answers = dict(operation["responses"])
    ((media_type, answer),) = answers.pop("200")["content"].items()
    answered = json.dumps(answer["example"], indent=2) if "example" in answer else None
    errors = [
        Error(status, error["error"]["code"], error["error"]["message"])
        for status, answer in sorted(answers.items())
        for error in _examples(answer)
    ]
    return Operation(method.upper(), path, operation["summary"], sent, asked, answered, media_type, errors)


def _curl(path: str, example: _Json, *, has_key: bool) -> str:
    lines = [f'curl "$URL{path}"', "--header 'Content-Type: application/json'"]
    lines += ['--header "Authorization: Bearer $KEY"'] if has_key else []
    return " \\\n  ".join([*lines, f"--data '{json.dumps(example)}'"])


def _fields(schema: _Json) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, described in schema.get("properties", {}).items():
        default = "required" if name in required else json.dumps(described["default"]) if "default" in described else ""
        yield _field(name, described, described.get("description", ""), default)


def _field(name: str, schema: _Json, description: str, default: str) -> Field:
    return Field(name, _kind(schema), _span(schema), default, description)


def _kind(schema: _Json) -> str:
    """The type, as a person says it."""
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "items" in schema:
        return f"array of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object, {_kind(schema['additionalProperties'])} by name"
    return "date and time, ISO 8601" if schema.get("format") == "date-time" else str(schema["type"])


def _span(schema: _Json) -> str:
    """What the values may be."""
    if "anyOf" in schema:
        return "; ".join(filter(None, map(_span, schema["anyOf"])))
    if "items" in schema:
        most = f"at most {schema['maxItems']:,} items" if "maxItems" in schema else ""
        each = _span(schema["items"])
        return "; ".join(filter(None, (most, each and f"each {each}")))
    if "pattern" in schema:
        return f"as text {schema['pattern']}"
    if "minimum" in schema and "maximum" in schema:
        return f"{_number(schema['minimum'])} to {_number(schema['maximum'])}"
    return f"from {_number(schema['minimum'])}" if "minimum" in schema else ""


def _number(value: float) -> str:
    named = {-(2**63): "-2^63", 2**63 - 1: "2^63 - 1"}
    return named[int(value)] if value in named else f"{value:,}"


def _reached(schemas: _Json, name: str) -> list[str]:
    """A schema and those that it refers to, in the order in which a reader meets them."""
    found = [name]
    for known in found:
        words = {word for field in _fields(schemas[known]) for word in field.kind.split()}
        found += [other for other in schemas if other in words and other not in found]
    return found


def _examples(answer: _Json) -> list[_Json]:
    content = answer["content"]["application/json"]
    return [one["value"] for one in content["examples"].values()] if "examples" in content else [content["example"]]


def _name(reference: _Json) -> str:
    return str(reference["$ref"].rpartition("/")[2])
