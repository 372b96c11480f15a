"""What traces say, and that they cost nothing when they are off."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.platform_kit.test_following import picture
from unspread.platform_kit import traces
from unspread.platform_kit.settings import SettingsError


class Recorder:
    """An OpenTelemetry provider as far as we use one."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, object]]] = []

    def get_tracer(self, _: str) -> "Recorder":
        return self

    @contextmanager
    def start_as_current_span(self, name: str, attributes: dict) -> Iterator["Recorder"]:
        self.spans.append((name, dict(attributes)))
        yield self

    def set_attribute(self, name: str, value: object) -> None:
        self.spans[-1][1][name] = value


@pytest.fixture
def recorder():
    made = Recorder()
    traces.use(made)
    yield made
    traces.use(None)


def test_a_scan_leaves_spans_without_fingerprint_or_reference(platform, clearinghouse, recorder):
    clearinghouse.protect(picture(1))
    platform.sync()
    platform.scan(picture(1), "secret-reference")

    said = str(recorder.spans)
    assert ("decide", {"media": "image", "decision": "refuse"}) in recorder.spans
    assert "take listings" in said
    assert "secret-reference" not in said


def test_an_endpoint_without_the_packages_is_refused_at_the_start():
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError:
        with pytest.raises(SettingsError, match="telemetry"):
            traces.set_up("http://127.0.0.1:4318/v1/traces")
    traces.set_up("")
