"""A report's XML has the elements of NCMEC's schema, in its order, and rests on a person."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.ncmec_stand import SCHEMA
from unspread.errors import InputError
from unspread.platform_kit.cybertip.report import (
    Annotation,
    Basis,
    Classification,
    FileDetails,
    IncidentType,
    NotReportableError,
    Report,
    Reporter,
    check_basis,
    file_xml,
    report_xml,
)

AT = datetime(2026, 11, 23, 6, 0, tzinfo=timezone(timedelta(hours=1)))
FULL = Report(
    IncidentType.CHILD_PORNOGRAPHY,
    AT,
    Reporter("Ann", "Example", "ann@forum.example"),
    ("https://forum.example/post/1", "https://forum.example/post/2"),
    reported_user="user-17",
    annotations=frozenset(Annotation),
    escalate="a child is in danger now",
    additional_info="seen <twice> & removed",
)
BARE = Report(IncidentType.ONLINE_ENTICEMENT, AT, FULL.reporter, FULL.urls[:1])


@pytest.mark.parametrize("report", [FULL, BARE], ids=["full", "bare"])
def test_elements_come_in_the_order_of_the_schema(report: Report) -> None:
    SCHEMA.assertValid(etree.fromstring(report_xml(report)))


def test_a_report_says_what_was_typed() -> None:
    root = fromstring(report_xml(FULL))
    assert root.findtext("incidentSummary/incidentType", "").startswith("Child Pornography (poss")
    assert root.findtext("incidentSummary/incidentDateTime") == "2026-11-23T05:00:00Z"
    flags = root.find("incidentSummary/reportAnnotations")
    assert flags is not None
    assert [(each.tag, each.text) for each in flags] == [(each, None) for each in Annotation]
    assert [each.text for each in root.findall(".//url")] == list(FULL.urls)
    assert root.findtext("additionalInfo") == "seen <twice> & removed"
    assert root.findtext("personOrUserReported/espIdentifier") == "user-17"


FILE = FileDetails(
    "https://forum.example/post/1",
    viewed=True,
    publicly_available=False,
    classification=Classification.B2,
    md5="0" * 32,
    sha256="1" * 64,
)


def test_a_files_details_come_in_order_with_both_digests() -> None:
    document = file_xml("4711", "3a1d4fd4106b82499b7c93442aa7dca4", FILE)
    SCHEMA.assertValid(etree.fromstring(document))
    root = fromstring(document)
    hashes = {each.get("hashType"): each.text for each in root.findall("originalFileHash")}
    assert hashes == {"MD5": "0" * 32, "SHA256": "1" * 64}
    assert root.findtext("fileViewedByEsp") == "true"
    assert root.findtext("publiclyAvailable") == "false"
    assert root.findtext("industryClassification") == "B2"


@pytest.mark.parametrize(
    "change",
    [
        {"urls": ()},
        {"urls": ("",)},
        {"urls": ("https://forum.example/a b",)},
        {"urls": ("https://forum.example/a\n",)},
        {"urls": ("https://forum.example/" + "a" * 2083,)},
        {"reporter": Reporter("", "Example", "a@b.c")},
        {"reporter": Reporter("Ann", "Example", "ann")},
        {"reporter": Reporter("Ann" * 40, "Example", "a@b.c")},
        {"escalate": "x" * 3001},
        {"additional_info": "x" * 3001},
        {"additional_info": "a\0b"},
        {"additional_info": "a\ud800b"},
        {"reported_user": "x" * 256},
    ],
)
def test_what_the_schema_would_refuse_is_refused_here(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        report_xml(replace(FULL, **change))


@given(text=st.text(min_size=1, max_size=200))
def test_any_text_is_refused_or_survives_the_document(text: str) -> None:
    try:
        document = report_xml(replace(BARE, additional_info=text))
    except InputError:
        return
    found = fromstring(document).findtext("additionalInfo", "")
    # XML itself makes one newline of \r\n and of \r (XML 1.0, section 2.11).
    assert found == text.strip().replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    "basis",
    [
        pytest.param(Basis("", looked=True, removed=True), id="nobody by name"),
        pytest.param(Basis("Ann", looked=False, removed=True), id="a match that nobody looked at"),
        pytest.param(Basis("Ann", looked=True, removed=False), id="decided to keep it"),
    ],
)
def test_without_a_persons_decision_nothing_is_reported(basis: Basis) -> None:
    with pytest.raises(NotReportableError):
        check_basis(basis)
    check_basis(Basis("Ann", looked=True, removed=True))


def test_times_are_utc() -> None:
    root = fromstring(report_xml(replace(BARE, incident_at=AT.astimezone(UTC))))
    assert root.findtext(".//incidentDateTime") == "2026-11-23T05:00:00Z"
