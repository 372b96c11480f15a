"""Health and figures of the running process. Labels are words of ours, never what was sent."""

import time
from collections.abc import Iterator
from typing import Final

import msgspec
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unspread.clearinghouse.service import Service

STALE_AFTER_SECONDS: Final = 60.0
"""Without a publication this long the clearinghouse is not ready: feeds expire after 15 minutes."""

_FIRST_PARTS: Final = frozenset({"v1", "log", "feed", "health", "metrics", "staff", "page"})
_PROTOCOL: Final = frozenset(
    {"about", "proof-of-work", "challenge", "cases", "feedback", "acknowledge", "partners",
     "lookup", "token", "vouch"}
)  # fmt: skip


def area(path: str) -> str:
    """A path's first words, of those we know: a label that no visitor can invent."""
    parts = path.split("/")[1:3]
    if parts[0] not in _FIRST_PARTS:
        return "pages"
    if parts[0] == "v1" and len(parts) > 1 and parts[1] in _PROTOCOL:
        return f"v1/{parts[1]}"
    return parts[0]


class _Gauges(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        service = self._service
        for name, text, value in (
            ("unspread_log_size", "Entries of the log that are public.", service.publisher.size),
            ("unspread_writes_waiting", "Writes in the queue.", service.writer.waiting),
            ("unspread_push_followers", "Open push connections.", service.subscribers.count),
            (
                "unspread_submissions_per_minute",
                "Submissions a minute, smoothed.",
                round(service.proofs.rate.per_minute()),
            ),
            (
                "unspread_proof_of_work_cost",
                "Iterations that a proof of work takes on average.",
                service.proofs.expected_iterations(),
            ),
            (
                "unspread_publishing_age_seconds",
                "Since the last successful publication.",
                round(service.clock() - service.publisher.last_success),
            ),
        ):
            yield GaugeMetricFamily(name, text, value=value)


class Figures:
    """Counts every response by area and status; an ASGI middleware and the route that shows it."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._registry = service.registry
        self._responses = Counter(
            "unspread_responses", "Responses.", ["area", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "unspread_response_seconds",
            "Time to the response's start.",
            ["area"],
            registry=self._registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self._registry.register(_Gauges(service))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = area(scope["path"])
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._responses.labels(name, str(message["status"])).inc()
                self._seconds.labels(name).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted)


def routes(service: Service, registry: CollectorRegistry) -> list[BaseRoute]:
    """`/health/live`, `/health/ready`, `/metrics`."""

    async def live(_request: Request) -> Response:
        return Response(b'{"live": true}', media_type="application/json")

    async def ready(_request: Request) -> Response:
        age = service.clock() - service.publisher.last_success
        is_ready = not service.stopping and age < STALE_AFTER_SECONDS
        body = {
            "ready": is_ready,
            "log_size": service.publisher.size,
            "published_seconds_ago": round(age),
        }
        return Response(
            msgspec.json.encode(body), 200 if is_ready else 503, media_type="application/json"
        )

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return [
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
