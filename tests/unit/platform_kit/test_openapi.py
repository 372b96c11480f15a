"""The description of the interface is true of the interface."""

import json

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from tests.unit.platform_kit.conftest import Platform
from tests.unit.platform_kit.test_following import picture
from tests.unit.platform_kit.test_http import Caller
from unspread.platform_kit import api, openapi

DOCUMENT = openapi.document(openapi.OPERATIONS)


def test_every_route_is_described_and_nothing_else(platform):
    described = {(one.path, one.method) for one in openapi.OPERATIONS}
    served = {
        (route.path, method)
        for route in api.routes(platform.kit)
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert described == served


def test_the_document_is_served_to_everybody(platform):
    caller = Caller(platform)
    caller.app = Starlette(routes=[openapi.route()])
    caller.headers = {}
    answer = caller("GET", "/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == json.loads(json.dumps(DOCUMENT))


@pytest.mark.long
def test_generated_calls_are_answered_as_the_document_says(tmp_path, clearinghouse):
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    true_answers = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    clearinghouse.protect(picture(1))
    platform = Platform(tmp_path, clearinghouse, requests_per_minute=10_000_000)
    platform.sync()
    caller = Caller(platform)
    caller.app.routes.append(openapi.route())
    statuses: set[int] = set()
    for operation in schemathesis.openapi.from_asgi(
        "/openapi.json", caller.app
    ).get_all_operations():

        @settings(
            max_examples=100,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.ok().as_strategy())
        def answers_as_described(case):
            answer = case.call(headers=caller.headers)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=true_answers)

        answers_as_described()
    # The calls went past the doors: some were answered, some were malformed, some no picture.
    assert {200, 400, 422} <= statuses
    platform.close()
