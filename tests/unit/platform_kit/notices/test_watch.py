"""An operator is woken before a clock runs out."""

from pathlib import Path

import pytest

from tests.unit.platform_kit.conftest import Platform
from tests.unit.platform_kit.notices.test_rules import a_request
from unspread.platform_kit.notices.rules import CLOCK
from unspread.platform_kit.notices.service import record_of, watch
from unspread.testing.stand_in import StandInClearinghouse


@pytest.fixture
def clearinghouse() -> StandInClearinghouse:
    return StandInClearinghouse()


def test_the_least_that_is_left_of_any_clock_is_a_gauge(
    tmp_path: Path, clearinghouse: StandInClearinghouse
) -> None:
    platform = Platform(tmp_path, clearinghouse)
    kit, record = platform.kit, record_of(platform.kit)

    def gauges() -> tuple[float | None, float | None]:
        watch(kit, record)
        registry = kit.metrics.registry
        return (
            registry.get_sample_value("unspread_notices_waiting"),
            registry.get_sample_value("unspread_notice_seconds_left"),
        )

    assert gauges() == (0, CLOCK.total_seconds())
    _, first = record.receive(a_request(), platform.now())
    clearinghouse.now = platform.now() + CLOCK / 2
    record.receive(a_request(), platform.now())
    assert gauges() == (2, CLOCK.total_seconds() / 2)
    clearinghouse.now = platform.now() + CLOCK
    assert gauges() == (2, -CLOCK.total_seconds() / 2)
    record.withdraw(first.notice_id, platform.now())
    assert gauges() == (1, 0)
    platform.close()
