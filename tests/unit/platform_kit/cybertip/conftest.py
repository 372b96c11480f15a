"""A fresh store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.platform_kit.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path)
    yield made
    made.store.close()
