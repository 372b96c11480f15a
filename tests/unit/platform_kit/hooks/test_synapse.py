"""The Synapse module's settings and what it makes of answers; the rest is a journey."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unspread.errors import InputError
from unspread.platform_kit.hooks.synapse import Outcome, SynapseSettings, outcome, settings_of


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (200, Outcome.KEEP),
        (202, Outcome.KEEP),
        (406, Outcome.REFUSE),
        (409, Outcome.REFUSE),
        (422, Outcome.REFUSE),
        (301, Outcome.NOT_CHECKED),
        (401, Outcome.NOT_CHECKED),
        (403, Outcome.NOT_CHECKED),
        (413, Outcome.NOT_CHECKED),
        (429, Outcome.NOT_CHECKED),
        (500, Outcome.NOT_CHECKED),
        (503, Outcome.NOT_CHECKED),
    ],
)
def test_only_a_decision_refuses_and_only_2xx_keeps(status: int, means: Outcome) -> None:
    assert outcome(status) is means


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "unspread.key"
    path.write_text("uk_key\n")
    return str(path)


def test_what_was_not_checked_is_refused_unless_the_operator_says_otherwise(
    key_file: str,
) -> None:
    config = {"url": "http://127.0.0.1:8080/", "key_file": key_file}
    assert settings_of(config) == SynapseSettings("http://127.0.0.1:8080", "uk_key")
    assert settings_of({**config, "when_unavailable": "accept"}).fail_open
    assert "uk_key" not in repr(settings_of(config))


@pytest.mark.parametrize(
    "change",
    [
        {"url": None},
        {"url": "127.0.0.1"},
        {"key_file": None},
        {"key_file": "/no/such/file"},
        {"when_unavailable": "maybe"},
        {"max_bytes": 0},
        {"max_bytes": "1"},
        {"ulr": "http://127.0.0.1"},
    ],
)
def test_a_config_that_cannot_work_is_refused_at_start(
    key_file: str, change: dict[str, Any]
) -> None:
    config = {"url": "http://127.0.0.1:8080", "key_file": key_file, **change}
    with pytest.raises(InputError, match="unspread"):
        settings_of(config)


def test_the_module_needs_nothing_that_synapse_does_not_have() -> None:
    # Synapse's environment gets the package without its dependencies.
    code = (
        "import sys, unspread.platform_kit.hooks.synapse\n"
        "outside = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)"
        " - {'unspread', '__main__'}\n"
        "print(sorted(name for name in outside if not name.startswith(('_', 'sitecustomize'))))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
