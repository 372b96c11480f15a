"""Anyone can send a notice and follow it; only staff decide."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.unit.platform_kit.outbox import Outbox
from tests.unit.platform_kit.review.authenticator import Authenticator
from unspread.platform_kit.notices.answers import Answers
from unspread.platform_kit.notices.pages import PublicPages, StaffPages
from unspread.platform_kit.notices.record import NoticeId, Record
from unspread.platform_kit.notices.service import TEMPLATES
from unspread.platform_kit.notices.settings import NoticeSettings
from unspread.platform_kit.pages import Pages
from unspread.platform_kit.review.desk import Desk
from unspread.platform_kit.review.service import HERE
from unspread.platform_kit.review.signin import Role, SignIn

ORIGIN = "http://localhost:8080"
SETTINGS = NoticeSettings(
    platform="Forum",
    hosts=("forum.example",),
    reference_pattern=r"/(?P<reference>post/\d+)$",
)
FIELDS = {
    "signature": "A. Person",
    "locations": "https://forum.example/post/1\r\n",
    "good_faith": "yes",
    "contact": "person@example.org",
}
JSON = {**FIELDS, "locations": ["https://forum.example/post/1"], "good_faith": True}


def copies(reference: str) -> Sequence[tuple[str, int]]:
    return [("post/1", 0), ("post/2", 0), ("post/3", 9)] if reference == "post/1" else []


class Site:
    """The pages of one platform."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.record = Record(outbox.store, frozenset(SETTINGS.hosts), 60)
        self.sign_in = SignIn(outbox.store, ORIGIN, outbox.clock)
        pages = Pages(TEMPLATES, HERE / "templates")
        answers = Answers("Forum", "https://forum.example/notices/status", "A court.")
        public = PublicPages(self.record, pages, SETTINGS, answers, outbox.clock)
        desk = Desk(self.sign_in, pages, ORIGIN)
        staff = StaffPages(
            self.record, desk, SETTINGS, copies=copies, appeal_at="/appeal", clock=outbox.clock
        )
        self.app = Starlette(routes=[*public.routes(), *staff.routes()])

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=ORIGIN, follow_redirects=False)

    def staff(self, role: Role = Role.LEAD) -> TestClient:
        browser, device = self.browser(), Authenticator(ORIGIN)
        invitation = self.sign_in.invite(f"Ann, {role}", role)
        session = self.sign_in.register(
            invitation, device.make(self.sign_in.registration(invitation))
        )
        browser.cookies.set("review", session)
        return browser

    def status(self, number: str) -> str:
        """The page that a number opens."""
        return self.browser().post("/notices/status", data={"number": number}).text

    def confirm(self, *references: str) -> None:
        """The platform's software has removed these."""
        for action in self.outbox.due():
            if action.reference in references:
                self.outbox.store.action_delivered(action.action_id, self.outbox.now)

    def send(self, **changes: str) -> str:
        """A notice sent through the form; its number."""
        page = self.browser().post("/notices", data={**FIELDS, **changes})
        assert page.status_code == 201
        return page.text.split('id="tracking">')[1].split("<")[0]


@pytest.fixture
def site(outbox: Outbox, tmp_path: Path) -> Site:
    return Site(outbox)


def test_anyone_can_send_a_notice_and_see_its_clock(site: Site) -> None:
    assert "no account" in site.browser().get("/notices").text
    number = site.send()
    page = site.browser().post("/notices/status", data={"number": number})
    assert "The 48 hours end on 2026-11-25 at 05:00 UTC" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert number not in str(page.url)


@pytest.mark.parametrize("field", ["signature", "locations", "good_faith", "contact"])
def test_a_form_that_lacks_something_is_given_back_with_what_was_typed(
    site: Site, field: str
) -> None:
    page = site.browser().post("/notices", data={**FIELDS, field: "", "description": "red room"})
    assert page.status_code == 400
    assert "has not been sent yet" in page.text
    assert "red room" in page.text
    assert site.record.waiting() == []


def test_staff_remove_what_is_named_and_its_copies_in_one_step(site: Site) -> None:
    number = site.send()
    staff = site.staff()
    assert "48 h 00 min" in staff.get("/review/notices").text
    page = staff.get("/review/notices/1").text
    assert 'value="post/1"' in page
    found = staff.post("/review/notices/1/find", data={"r1": "post/1"}).text
    assert "what the notice names" in found
    assert "copy, 9 bits away" in found
    chosen = {"c1": "post/1", "c2": "post/2", "c3": "post/3", "ground": "law"}
    staff.post("/review/notices/1/remove", data=chosen)
    removed = [(each.action, each.reference) for each in site.outbox.due()]
    assert removed == [("remove", "post/1"), ("remove", "post/2"), ("remove", "post/3")]
    page = site.status(number)
    assert "decided to remove what your notice names: 3 pieces, copies included" in page
    assert "comparing fingerprints automatically; a person decided" in page
    assert "rests on the law" in page
    assert "confirmed 0 of 3 so far" in page
    assert "post/2" not in page
    assert "Statement of reasons" in staff.get("/review/notices/1").text
    site.confirm("post/1")
    assert "confirmed 1 of 3 so far" in site.status(number)
    site.confirm("post/2", "post/3")
    assert "says that all of it is gone" in site.status(number)


def test_what_is_named_and_its_known_copies_go_in_one_request(site: Site) -> None:
    site.send()
    staff = site.staff()
    staff.post("/review/notices/1/remove-all", data={"r1": "post/1", "ground": "law"})
    removed = [each.reference for each in site.outbox.due() if each.action == "remove"]
    assert removed == ["post/1", "post/2", "post/3"]
    empty = staff.post("/review/notices/1/remove-all", data={"r1": "", "ground": "law"})
    assert empty.status_code == 400


def test_what_is_removed_and_not_confirmed_stays_on_the_clock(site: Site) -> None:
    site.send()
    site.outbox.pass_time(hours=10)
    staff = site.staff()
    staff.post("/review/notices/1/remove-all", data={"r1": "post/9", "ground": "law"})
    site.outbox.pass_time(hours=30)
    staff = site.staff(Role.REVIEWER)
    page = staff.get("/review/notices").text
    assert "not gone yet" in page
    assert "8 h 00 min" in page
    site.confirm("post/9")
    assert "not gone yet" not in staff.get("/review/notices").text


def test_whoever_asked_reads_why_it_stays_and_what_became_of_the_appeal(site: Site) -> None:
    number = site.send()
    staff = site.staff()
    staff.post("/review/notices/1/decline", data={"refusal": "consent", "explanation": "a film"})
    page = site.status(number)
    assert "leaves in place what it names" in page
    assert "published with consent" in page
    assert "a film" in page
    assert "Appeal, with your number" in page
    assert "A court." in page
    site.browser().post("/notices/appeal", data={"number": number, "text": "it is not"})
    page = site.status(number)
    assert "You have appealed" in page
    assert "a film" in page
    staff.post("/review/notices/1/answer", data={"explanation": "we asked", "restore": "no"})
    page = site.status(number)
    assert "the decision stands after the appeal" in page
    assert "we asked" in page
    assert "Appeal, with your number" not in page
    assert "it is not" not in page


def test_both_sides_appeal_through_the_pages(site: Site) -> None:
    number = site.send()
    staff = site.staff()
    staff.post("/review/notices/1/decline", data={"refusal": "not_intimate", "explanation": ""})
    page = site.browser().post("/notices/appeal", data={"number": number, "text": "look again"})
    assert "looks at it again" in page.text
    assert "look again" in staff.get("/review/notices/1").text
    staff.post("/review/notices/1/remove", data={"c1": "post/1", "ground": "terms"})
    code = site.record.appeal_code(NoticeId(1))
    posted = site.browser().post("/notices/appeal", data={"code": code, "text": "a painting"})
    assert "has been received" in posted.text

    def answer() -> str:
        return site.browser().post("/notices/appeal/answer", data={"code": code}).text

    assert "waits for an answer" in answer()
    staff.post("/review/notices/1/answer", data={"explanation": "so it is", "restore": "yes"})
    assert "Shown again after an appeal. so it is" in answer()
    assert site.record.get(NoticeId(1)).standing.status == "restored"


def test_what_was_lacking_can_be_sent_later_and_a_notice_withdrawn(site: Site) -> None:
    number = site.send()
    site.staff().post("/review/notices/1/incomplete", data={"need": "location"})
    browser = site.browser()
    page = browser.post("/notices/status", data={"number": number}).text
    assert "could not find it" in page
    better = {**FIELDS, "number": number, "locations": "https://forum.example/post/9"}
    assert "The 48 hours end" in browser.post("/notices/complete", data=better).text
    assert (
        "you withdrew your notice"
        in browser.post("/notices/withdraw", data={"number": number}).text
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/review/notices"),
        ("GET", "/review/notices/1"),
        ("GET", "/review/notices/export"),
        ("POST", "/review/notices/1/remove"),
        ("POST", "/review/notices/1/decline"),
        ("POST", "/review/notices/1/erase"),
    ],
)
def test_the_public_does_not_see_what_people_wrote(site: Site, method: str, path: str) -> None:
    site.send()
    answer = site.browser().request(method, path)
    assert answer.headers["location"] == "/review/sign-in"


def test_only_a_lead_exports_and_erases(site: Site) -> None:
    site.send()
    reviewer = site.staff(Role.REVIEWER)
    assert reviewer.get("/review/notices/export").status_code == 403
    assert reviewer.post("/review/notices/1/erase").status_code == 403
    exported = site.staff().get("/review/notices/export")
    assert exported.text.count("\n") == 1
    assert "attachment" in exported.headers["content-disposition"]


def test_programs_send_and_follow_notices(site: Site) -> None:
    browser = site.browser()
    sent = browser.post("/v1/notices", json=JSON)
    assert (sent.status_code, sent.json()["status"]) == (201, "open")
    assert sent.json()["deadline"].startswith("2026-11-25T05:00:00")
    number = sent.json()["number"]
    assert browser.post("/v1/notices/status", json={"number": number}).json()["removed"] == 0
    gone = browser.post("/v1/notices/withdraw", json={"number": number})
    assert gone.json()["status"] == "withdrawn"
    again = browser.post("/v1/notices/withdraw", json={"number": number})
    assert again.status_code == 409


def test_programs_complete_a_notice_appeal_and_read_what_was_answered(site: Site) -> None:
    browser, staff = site.browser(), site.staff()
    lacking = browser.post("/v1/notices", json={**JSON, "contact": ""}).json()
    assert lacking["lacks"] == {"contact": "missing"}
    number = lacking["number"]
    whole = browser.post("/v1/notices/complete", json={**JSON, "number": number}).json()
    assert (whole["status"], whole["lacks"]) == ("open", {})
    staff.post("/review/notices/1/decline", data={"refusal": "other", "explanation": "a film"})
    read = browser.post("/v1/notices/status", json={"number": number}).json()
    assert (read["status"], read["reason"], read["removal_confirmed"]) == ("declined", "other", 0)
    assert "a film" in read["answer"]
    assert [(each["step"], each["text"]) for each in read["steps"]] == [
        ("received", None),
        ("completed", None),
        ("declined", "a film"),
    ]
    appeal = {"number": number, "text": "it is me"}
    assert browser.post("/v1/notices/appeal", json=appeal).json()["appealed"] is True
    assert browser.post("/v1/notices/appeal", json=appeal).status_code == 409


def test_a_program_is_told_what_is_lacking_and_its_notice_is_kept(site: Site) -> None:
    lacking = {**JSON, "locations": ["https://elsewhere.example/1"]}
    answer = site.browser().post("/v1/notices", json=lacking).json()
    assert (answer["status"], answer["deadline"]) == ("incomplete", None)
    assert answer["lacks"] == {"location": "elsewhere"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"number": 1}', 400),
        (b"\xff", 400),
        (b'{"number": "0000-0000-0000-0000"}', 404),
        (b'{"number": "x"}', 404),
        (b"x" * 300_000, 400),
    ],
)
def test_what_is_malformed_or_unknown_is_refused_with_a_text(
    site: Site, body: bytes, status: int
) -> None:
    answer = site.browser().post("/v1/notices/status", content=body)
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True)


def test_markup_in_a_notice_is_text(site: Site) -> None:
    site.send(signature="<script>alert(1)</script>", description="<b>red</b>")
    page = site.staff().get("/review/notices/1").text
    assert "<script>alert" not in page
    assert "<b>red" not in page


@pytest.mark.parametrize(
    "changes",
    [
        {"reference_pattern": "("},
        {"reference_pattern": r"/post/\d+"},
        {"copies_radius_bits": 65},
        {"copies_radius_bits": -1},
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="notices"):
        NoticeSettings(**changes)
