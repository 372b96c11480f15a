"""The HTTP interface as an OpenAPI 3.1 document, made from the types that answer.

It is served at `GET /openapi.json`; tests/unit/platform_kit/test_openapi.py holds it against the
running interface.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from unspread.platform_kit.access import Scope
from unspread.platform_kit.accounts import MAX_ACCOUNT_CHARACTERS
from unspread.platform_kit.api import (
    ACCOUNT_HEADER,
    POSTED_ON_HEADER,
    ForgetRequest,
    Forgotten,
    LiveText,
    LookupAnswer,
    LookupRequest,
    ProblemText,
    ReadyText,
    Recorded,
    ScanText,
    json_response,
)
from unspread.platform_kit.catalogue import MAX_REFERENCE_CHARACTERS

_SCHEMAS: Final = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One status of an operation."""

    says: str
    body: type | None = None
    """What its JSON is; None: plain text."""
    or_body: type | None = None
    """What it may be instead."""
    retry_after: bool = False
    """Whether it says when to come back."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    summary: str
    answers: Mapping[int, Answer]
    scope: Scope | None = None
    """Of the key that opens it; None: everybody may."""
    body: type | None = None
    """What its JSON is; `bytes`: the media as it is; None: none."""
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Parameter → its schema; with `required` beside it where it must be given."""
    headers: Mapping[str, dict[str, Any]] = field(default_factory=dict)


_REFERENCE: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_REFERENCE_CHARACTERS,
    "description": "Your own name for the content, printable.",
}
_POSTING: Final[Mapping[str, dict[str, Any]]] = {
    ACCOUNT_HEADER: {
        "type": "string",
        "maxLength": MAX_ACCOUNT_CHARACTERS,
        "description": "Any text that is the same for the same account: a number, a pseudonym.",
    },
    POSTED_ON_HEADER: {"type": "string", "format": "date", "description": "When it was posted."},
}
_REFUSED: Final = {
    400: Answer("malformed", ProblemText),
    401: Answer("no key, or an unknown one", ProblemText),
    403: Answer("a key without this scope", ProblemText),
    429: Answer("too many requests with this key", ProblemText, retry_after=True),
}
_TOO_LARGE: Final = Answer("larger than the settings allow", ProblemText)
_BUSY: Final = Answer("no list loaded yet, or all workers busy", ProblemText, retry_after=True)

OPERATIONS: Final = (
    Operation(
        "/scan",
        "POST",
        "Whether an upload may be published: 2xx accepts, anything else refuses.",
        {
            200: Answer("accept", ScanText),
            202: Answer("hold, where `hold=accept` was asked for", ScanText),
            406: Answer("refuse: on a list", ScanText),
            409: Answer("hold: a person should look first", ScanText),
            413: _TOO_LARGE,
            422: Answer("unreadable: no picture or video, or too costly to decode", ScanText),
            503: Answer(
                "unavailable: nothing could be compared", ScanText, ProblemText, retry_after=True
            ),
            **_REFUSED,
        },
        scope=Scope.SCAN,
        body=bytes,
        query={"reference": _REFERENCE, "hold": {"type": "string", "enum": ["accept"]}},
        headers=_POSTING,
    ),
    Operation(
        "/lookup",
        "POST",
        "The matches of fingerprints, each nearest first.",
        {200: Answer("in the order of the queries", LookupAnswer), 413: _TOO_LARGE, 503: _BUSY}
        | _REFUSED,
        scope=Scope.LOOKUP,
        body=LookupRequest,
    ),
    Operation(
        "/catalogue",
        "POST",
        "Remember content without deciding on it.",
        {
            200: Answer("remembered; what matches goes out as an action", Recorded),
            413: _TOO_LARGE,
            422: Answer("no picture or video, or too costly to decode", ProblemText),
            503: _BUSY,
            **_REFUSED,
        },
        scope=Scope.CATALOGUE,
        body=bytes,
        query={"reference": _REFERENCE | {"required": True}},
        headers=_POSTING,
    ),
    Operation(
        "/catalogue/forget",
        "POST",
        "Forget content that is gone.",
        {200: Answer("forgotten", Forgotten), 413: _TOO_LARGE, **_REFUSED},
        scope=Scope.CATALOGUE,
        body=ForgetRequest,
    ),
    Operation(
        "/health/live",
        "GET",
        "Whether the program works at all: restart it if not.",
        {200: Answer("it does", LiveText), 503: Answer("restart it", LiveText)},
    ),
    Operation(
        "/health/ready",
        "GET",
        "Whether every enabled list was fetched once, and how each stands.",
        {200: Answer("ready", ReadyText), 503: Answer("not yet", ReadyText)},
    ),
    Operation(
        "/metrics",
        "GET",
        "Figures for Prometheus.",
        {200: Answer("the text format 0.0.4"), **{s: a for s, a in _REFUSED.items() if s != 400}},
        scope=Scope.METRICS,
    ),
)
"""Everything that an upload path calls."""


def route() -> Route:
    """`GET /openapi.json`, for everybody: it says nothing of this installation."""
    text = document(OPERATIONS)

    async def answer(_: Request) -> Response:
        return json_response(text)

    return Route("/openapi.json", answer)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    listed = list(operations)
    types = {each for one in listed for each in _types(one)}
    ordered = sorted(types, key=lambda each: each.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_SCHEMAS)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Unspread platform kit",
            "version": version("unspread"),
            "description": "What an upload path calls. Errors are JSON with a text for people.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _types(one: Operation) -> set[type]:
    found = {one.body}
    for answer in one.answers.values():
        found |= {answer.body, answer.or_body}
    return {each for each in found if each is not None and each is not bytes}


def _operation(one: Operation, schema_of: Mapping[type, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": one.summary,
        "operationId": f"{one.method}{one.path}".lower().strip("/").replace("/", "_"),
        "responses": {
            str(status): _answer(answer, schema_of) for status, answer in one.answers.items()
        },
    }
    parameters = [
        {
            "name": name,
            "in": place,
            "required": schema.get("required", False),
            "schema": {key: value for key, value in schema.items() if key != "required"},
        }
        for place, given in (("query", one.query), ("header", one.headers))
        for name, schema in given.items()
    ]
    if parameters:
        made["parameters"] = parameters
    if one.body is bytes:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        made["requestBody"] = {"required": True, "content": content}
    elif one.body is not None:
        content = {"application/json": {"schema": schema_of[one.body]}}
        made["requestBody"] = {"required": True, "content": content}
    if one.scope is not None:
        made["description"] = f"Needs a key of the scope `{one.scope}`."
        made["security"] = [{"key": []}, {"password": []}]
    return made


def _answer(answer: Answer, schema_of: Mapping[type, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"description": answer.says}
    schemas = [schema_of[each] for each in (answer.body, answer.or_body) if each is not None]
    if not schemas:
        made["content"] = {"text/plain": {"schema": {"type": "string"}}}
    else:
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        made["content"] = {"application/json": {"schema": schema}}
    if answer.retry_after:
        made["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return made
