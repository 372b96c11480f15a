"""A report's whole life, over HTTP, before a stand-in that checks the schema."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from tests.ncmec_stand import PASSWORD, USER, Ncmec, running
from tests.unit.platform_kit.cybertip.test_report import BARE, FULL
from tests.unit.platform_kit.outbox import Outbox
from unspread.platform_kit.cybertip.client import CyberTipline, RefusedReportError
from unspread.platform_kit.cybertip.filing import Filings, FilingState
from unspread.platform_kit.cybertip.report import (
    Basis,
    Classification,
    IncidentType,
    Report,
    report_xml,
)

CONTENT = bytes(range(256)) + b"\r\n--boundary\r\n"
SEEN = Basis("Ann", looked=True, removed=True)


@pytest.fixture
def ncmec() -> Iterator[Ncmec]:
    with running() as stand:
        yield stand


@pytest.fixture
def tipline(ncmec: Ncmec) -> Iterator[CyberTipline]:
    with httpx.Client(trust_env=False) as client:
        yield CyberTipline(client, ncmec.address, USER, PASSWORD)


@pytest.fixture
def filings(tipline: CyberTipline, outbox: Outbox) -> Filings:
    return Filings(outbox.store, tipline, "test", outbox.clock)


def file(filings: Filings, report: Report = FULL) -> None:
    filings.file(
        "key",
        SEEN,
        report,
        CONTENT,
        classification=Classification.A1,
        publicly_available=True,
    )


@pytest.mark.parametrize("report", [FULL, BARE], ids=["everything", "what is required"])
def test_a_report_is_submitted_with_its_file_and_finished(
    filings: Filings, ncmec: Ncmec, report: Report
) -> None:
    file(filings, report)
    assert ncmec.asked == ["/submit", "/upload", "/fileinfo", "/finish"]
    ((report_id, sent),) = ncmec.reports.items()
    assert sent.state == "finished"
    assert list(sent.files.values()) == [CONTENT]
    assert set(sent.details) == set(sent.files)
    assert [(each.state, each.report_id) for each in filings.of("key")] == [
        (FilingState.FILED, report_id)
    ]


@pytest.mark.parametrize("incident", list(IncidentType))
def test_every_kind_of_incident_is_one_of_the_schema(
    tipline: CyberTipline, incident: IncidentType
) -> None:
    assert tipline.open(report_xml(replace(BARE, incident_type=incident))).isdecimal()


@pytest.mark.parametrize("step", ["/upload", "/fileinfo", "/finish"])
def test_a_step_that_is_refused_has_the_report_retracted(
    filings: Filings, ncmec: Ncmec, step: str
) -> None:
    ncmec.fails[step] = "1110"
    with pytest.raises(RefusedReportError, match=r"NCMEC answered 1110: refused \(Request-ID"):
        file(filings)
    ((report_id, sent),) = ncmec.reports.items()
    assert sent.state == "retracted"
    assert filings.of("key")[-1].state is FilingState.RETRACTED
    # Nothing stands in the way of another try, under a number of its own.
    ncmec.fails.clear()
    file(filings)
    assert [each.state for each in ncmec.reports.values()] == ["retracted", "finished"]
    assert filings.of("key")[-1].report_id != report_id


def test_what_is_finished_cannot_be_taken_back(tipline: CyberTipline, ncmec: Ncmec) -> None:
    report_id = tipline.open(report_xml(BARE))
    tipline.finish(report_id)
    with pytest.raises(RefusedReportError, match="5102"):
        tipline.retract(report_id)
    with pytest.raises(RefusedReportError, match="5102"):
        tipline.add_file(report_id, CONTENT)


def test_what_is_out_of_order_is_refused(tipline: CyberTipline) -> None:
    document = report_xml(FULL)
    start, end = document.index(b"<internetDetails>"), document.index(b"<reporter>")
    swapped = document[:start] + document[end:].replace(
        b"</reporter>", b"</reporter>" + document[start:end]
    )
    with pytest.raises(RefusedReportError, match="4100"):
        tipline.open(swapped)


def test_who_is_not_known_files_nothing(ncmec: Ncmec) -> None:
    with httpx.Client(trust_env=False) as client:
        stranger = CyberTipline(client, ncmec.address, USER, "guessed")
        with pytest.raises(RefusedReportError, match="does not know these credentials"):
            stranger.open(report_xml(BARE))
    assert ncmec.reports == {}
