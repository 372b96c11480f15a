"""Filing goes step by step, once, and is taken back when a step fails."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.unit.platform_kit.cybertip.test_report import BARE
from tests.unit.platform_kit.outbox import Outbox, nothing_known
from tests.unit.platform_kit.review.authenticator import Authenticator
from unspread.errors import InputError, TransportError, UnspreadError
from unspread.platform_kit.cybertip.client import (
    CyberTipline,
    Environment,
    RefusedReportError,
    credentials,
)
from unspread.platform_kit.cybertip.filing import (
    AlreadyFiledError,
    Filing,
    Filings,
    FilingState,
)
from unspread.platform_kit.cybertip.pages import CyberTipPages
from unspread.platform_kit.cybertip.report import Basis, Classification, NotReportableError
from unspread.platform_kit.cybertip.service import TEMPLATES
from unspread.platform_kit.cybertip.settings import CyberTipSettings
from unspread.platform_kit.pages import Pages
from unspread.platform_kit.review.content import HeldContent
from unspread.platform_kit.review.desk import Desk
from unspread.platform_kit.review.records import Records
from unspread.platform_kit.review.service import HERE
from unspread.platform_kit.review.signin import Role, SignIn

SEEN = Basis("Ann", looked=True, removed=True)
CONTENT = b"a picture of nobody"
ORIGIN = "http://localhost:8080"


class Ncmec:
    """The Reporting API's answers, as its documentation shows them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, httpx.Response | Exception] = {}
        self.documents: list[ET.Element] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        step = request.url.path.removeprefix("/ispws")
        self.calls.append(step)
        if step in self.fails:
            failure = self.fails[step]
            if isinstance(failure, Exception):
                raise failure
            return failure
        if request.headers.get("content-type", "").startswith("text/xml"):
            self.documents.append(fromstring(request.content))
        more = {
            "/submit": "<reportId>4711</reportId>",
            "/upload": "<reportId>4711</reportId><fileId>3a1d</fileId>",
            "/finish": "<reportId>4711</reportId><files><fileId>3a1d</fileId></files>",
        }.get(step, "<reportId>4711</reportId>")
        return answer("0", more)


def answer(code: str, more: str = "", words: str = "Success") -> httpx.Response:
    body = f"<responseCode>{code}</responseCode><responseDescription>{words}</responseDescription>"
    return httpx.Response(200, text=f"<reportResponse>{body}{more}</reportResponse>")


@pytest.fixture
def ncmec() -> Ncmec:
    return Ncmec()


@pytest.fixture
def filings(ncmec: Ncmec, outbox: Outbox) -> Filings:
    client = httpx.Client(transport=httpx.MockTransport(ncmec.answer))
    tipline = CyberTipline(client, Environment.TEST, "user", "password")
    return Filings(outbox.store, tipline, "test", outbox.clock)


def file(filings: Filings, basis: Basis = SEEN, content_key: str = "key") -> Filing:
    return filings.file(
        content_key,
        basis,
        BARE,
        CONTENT,
        classification=Classification.A1,
        publicly_available=True,
    )


def states(filings: Filings) -> list[tuple[FilingState, str]]:
    return [(each.state, each.report_id) for each in filings.of("key")]


def test_a_report_is_opened_given_its_file_and_finished(filings: Filings, ncmec: Ncmec) -> None:
    assert file(filings).state is FilingState.FILED
    assert ncmec.calls == ["/submit", "/upload", "/fileinfo", "/finish"]
    details = ncmec.documents[1]
    assert (details.findtext("reportId"), details.findtext("fileId")) == ("4711", "3a1d")
    assert details.findtext("industryClassification") == "A1"


def test_what_nobody_decided_is_never_sent(filings: Filings, ncmec: Ncmec) -> None:
    for basis in (Basis("Ann", looked=False, removed=True), Basis("", looked=True, removed=True)):
        with pytest.raises(NotReportableError):
            file(filings, basis)
    assert (ncmec.calls, filings.of("key")) == ([], [])


def test_the_same_content_is_reported_once(filings: Filings, ncmec: Ncmec) -> None:
    file(filings)
    with pytest.raises(AlreadyFiledError):
        file(filings)
    assert len(ncmec.calls) == 4
    file(filings, content_key="other")


REFUSED = answer("4100", words="validation failed")


@pytest.mark.parametrize("step", ["/upload", "/fileinfo", "/finish"])
@pytest.mark.parametrize("failure", [REFUSED, httpx.ConnectError("gone"), httpx.Response(502)])
def test_what_was_opened_is_taken_back_when_a_later_step_fails(
    filings: Filings, ncmec: Ncmec, step: str, failure: httpx.Response | Exception
) -> None:
    ncmec.fails[step] = failure
    with pytest.raises(UnspreadError):
        file(filings)
    assert ncmec.calls[-1] == "/retract"
    assert states(filings) == [(FilingState.RETRACTED, "4711")]
    ncmec.fails.clear()
    file(filings)
    assert states(filings)[-1] == (FilingState.FILED, "4711")


def test_a_report_that_was_never_opened_is_not_taken_back(filings: Filings, ncmec: Ncmec) -> None:
    ncmec.fails["/submit"] = httpx.Response(401)
    with pytest.raises(RefusedReportError, match="credentials"):
        file(filings)
    assert (ncmec.calls, states(filings)) == (["/submit"], [(FilingState.FAILED, "")])


def test_a_retraction_that_fails_is_said(filings: Filings, ncmec: Ncmec) -> None:
    ncmec.fails["/upload"] = ncmec.fails["/retract"] = httpx.ConnectError("gone")
    with pytest.raises(TransportError):
        file(filings)
    (tried,) = filings.of("key")
    assert (tried.state, "could not be retracted" in tried.error) == (FilingState.FAILED, True)


def test_a_file_that_arrives_changed_is_not_reported(filings: Filings, ncmec: Ncmec) -> None:
    ncmec.fails["/upload"] = answer("0", "<fileId>3a1d</fileId><hash>00</hash>")
    with pytest.raises(RefusedReportError, match="changed"):
        file(filings)


def test_a_filing_that_a_crash_cut_short_does_not_block_for_ever(
    filings: Filings, outbox: Outbox
) -> None:
    outbox.store.write(
        lambda c: c.execute(
            "INSERT INTO cybertip_reports (content_key, state, environment, by, at)"
            " VALUES ('key', 'opened', 'test', 'Ann', '2026-11-23T05:00:00.000000Z')"
        )
    )
    with pytest.raises(AlreadyFiledError):
        file(filings)
    outbox.now += timedelta(days=2)
    file(filings)
    first, second = filings.of("key")
    assert (first.state, "ask them" in first.error) == (FilingState.FAILED, True)
    assert second.state is FilingState.FILED


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text=""),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, text='<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'),
        httpx.Response(200, text="<reportResponse></reportResponse>"),
        httpx.Response(302, headers={"location": "https://elsewhere.example"}),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    filings: Filings, ncmec: Ncmec, response: httpx.Response
) -> None:
    ncmec.fails["/submit"] = response
    with pytest.raises((TransportError, RefusedReportError)):
        file(filings)


def test_credentials_are_two_lines() -> None:
    assert credentials("user\npassword\n") == ("user", "password")
    for text in ("", "user", "a\nb\nc"):
        with pytest.raises(InputError):
            credentials(text)


@pytest.fixture
def lead(outbox: Outbox, filings: Filings, tmp_path: Path) -> Callable[..., TestClient]:
    """A lead's browser, before a held content."""

    def make(*, people: int = 1, role: Role = Role.LEAD) -> TestClient:
        held = HeldContent(tmp_path / "held")
        outbox.find("https://forum.example/post/1", hold=True)
        held.keep("https://forum.example/post/1", CONTENT)
        sign_in = SignIn(outbox.store, ORIGIN, outbox.clock)
        pages = CyberTipPages(
            Records(outbox.store, nothing_known, people),
            Desk(sign_in, Pages(TEMPLATES, HERE / "templates"), ORIGIN),
            held,
            settings=CyberTipSettings(first_name="Ann", last_name="Ex", email="a@b.example"),
            people=people,
            filings=filings,
            clock=outbox.clock,
        )
        browser = TestClient(Starlette(routes=pages.routes()), base_url=ORIGIN)
        browser.follow_redirects = False
        device, invitation = Authenticator(ORIGIN), sign_in.invite("Ann", role)
        options = sign_in.registration(invitation)
        browser.cookies.set("review", sign_in.register(invitation, device.make(options)))
        return browser

    return make


def form(outbox: Outbox, do: str) -> dict[str, str]:
    (task,) = Records(outbox.store, nothing_known, 1).waiting(outbox.now)
    return {
        "key": task.key,
        "do": do,
        "incident": BARE.incident_type,
        "at": "2026-11-23T05:00:00Z",
        "urls": "https://forum.example/post/1",
        "public": "yes",
    }


def look(outbox: Outbox) -> None:
    records = Records(outbox.store, nothing_known, 1)
    (task,) = records.waiting(outbox.now)
    (someone,) = SignIn(outbox.store, ORIGIN, outbox.clock).reviewers()
    records.record_view(someone.reviewer, task.key, outbox.now)


def test_a_lead_who_looked_files_and_removes_in_one_step(
    lead: Callable[..., TestClient], outbox: Outbox, ncmec: Ncmec
) -> None:
    browser = lead()
    page = browser.post("/review/report", data=form(outbox, "show")).text
    assert "test environment" in page
    assert "You have not looked at it" in page
    look(outbox)
    filed = browser.post("/review/report", data=form(outbox, "file"))
    assert filed.status_code == 303
    assert ncmec.calls[-1] == "/finish"
    assert "remove" in [each.action for each in outbox.due()]


def test_a_match_alone_is_never_filed_from_the_page(
    lead: Callable[..., TestClient], outbox: Outbox, ncmec: Ncmec
) -> None:
    refused = lead().post("/review/report", data=form(outbox, "file"))
    assert (refused.status_code, ncmec.calls) == (409, [])
    assert "a match alone is never reported" in refused.text
    assert "remove" not in [each.action for each in outbox.due()]


def test_in_pairs_one_person_alone_files_nothing(
    lead: Callable[..., TestClient], outbox: Outbox, ncmec: Ncmec
) -> None:
    browser = lead(people=2)
    look(outbox)
    assert browser.post("/review/report", data=form(outbox, "file")).status_code == 409
    assert ncmec.calls == []


def test_a_draft_is_downloaded_and_sends_nothing(
    lead: Callable[..., TestClient], outbox: Outbox, ncmec: Ncmec
) -> None:
    draft = lead().post("/review/report", data=form(outbox, "draft"))
    assert fromstring(draft.content).tag == "report"
    assert "attachment" in draft.headers["content-disposition"]
    assert ncmec.calls == []


def test_only_a_lead_reports(lead: Callable[..., TestClient], outbox: Outbox) -> None:
    browser = lead(role=Role.REVIEWER)
    assert browser.post("/review/report", data=form(outbox, "show")).status_code == 403


def test_what_the_schema_refuses_is_shown_and_nothing_is_decided(
    lead: Callable[..., TestClient], outbox: Outbox, ncmec: Ncmec
) -> None:
    look_first = lead()
    look(outbox)
    bad = {**form(outbox, "file"), "urls": "a b", "at": "yesterday"}
    assert look_first.post("/review/report", data=bad).status_code == 400
    assert ncmec.calls == []
