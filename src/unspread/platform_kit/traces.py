"""OpenTelemetry traces, off unless an endpoint is set and the `telemetry` extra installed.

Spans carry names of steps, decisions, list names and durations: never a fingerprint or reference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from unspread.platform_kit.settings import SettingsError

_NAME: Final = "unspread.platform"
_tracer: Any = None


def set_up(endpoint: str) -> None:
    """Send spans to an OTLP endpoint over HTTP; nothing is done for an empty one.

    Raises:
        SettingsError: if the packages are not installed.
    """
    if not endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError("`traces` needs: pip install 'unspread[telemetry]'") from None
    provider = TracerProvider(resource=Resource.create({"service.name": _NAME}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    use(provider)


def use(provider: Any) -> None:
    """Make spans with a tracer of `provider`."""
    global _tracer  # noqa: PLW0603 - one for the process, as OpenTelemetry has it
    _tracer = None if provider is None else provider.get_tracer(_NAME)


@contextmanager
def span(name: str, **attributes: str | int | bool) -> Iterator[Any]:
    """A span around a step; costs nothing when tracing is off."""
    if _tracer is None:
        yield None
        return
    with _tracer.start_as_current_span(name, attributes=attributes) as current:
        yield current
