"""The queue in a browser: nothing by default, counted when asked for, closed to strangers."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.unit.platform_kit.outbox import Outbox
from tests.unit.platform_kit.review.authenticator import Authenticator
from unspread.model import Kind
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.pages import Pages
from unspread.platform_kit.review import service
from unspread.platform_kit.review.content import HeldContent
from unspread.platform_kit.review.desk import Desk
from unspread.platform_kit.review.pages import ReviewPages
from unspread.platform_kit.review.records import Records
from unspread.platform_kit.review.rules import ReviewSettings
from unspread.platform_kit.review.signin import Role, SignIn

ORIGIN = "http://localhost:8080"
PNG = b"\x89PNG\r\n\x1a\n of nobody"


class Site:
    """The pages of one kit, and people in front of browsers."""

    def __init__(self, outbox: Outbox, data: Path, settings: ReviewSettings) -> None:
        self.known: dict[str, tuple[Probe, ...]] = {}
        self.outbox = outbox
        self.held = HeldContent(data / "held")
        self.sign_in = SignIn(outbox.store, ORIGIN, outbox.clock)
        desk = Desk(self.sign_in, Pages(service.HERE / "templates"), ORIGIN)
        pages = ReviewPages(
            outbox.store,
            Records(outbox.store, lambda at: self.known.get(at, ()), settings.people),
            desk,
            content=self.held,
            settings=settings,
            clock=outbox.clock,
        )
        self.app = Starlette(routes=pages.routes())

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=ORIGIN, follow_redirects=False)

    def person(self, name: str = "Ann", role: Role = Role.LEAD) -> TestClient:
        """Somebody who signed in through the pages."""
        browser, device = self.browser(), Authenticator(ORIGIN)
        invitation = self.sign_in.invite(name, role)
        options = browser.post("/review/passkey/make-options", json={"invitation": invitation})
        made = {"invitation": invitation, "credential": device.make(options.json())}
        assert browser.post("/review/passkey/make", json=made).status_code == 200
        browser.cookies.clear()
        options = browser.post("/review/passkey/use-options", json={})
        assert browser.post("/review/passkey/use", json=device.use(options.json())).is_success
        return browser

    def hold(self, reference: str = "post/1", listing_id: int = 17) -> None:
        self.outbox.find(reference, listing_id=listing_id, hold=True)
        self.held.keep(reference, PNG)


@pytest.fixture
def site(outbox: Outbox, tmp_path: Path) -> Site:
    return Site(outbox, tmp_path, ReviewSettings(views_per_day=2))


def key_in(page: str) -> str:
    return page.split('name="key" value="')[1].split('"', maxsplit=1)[0]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/review"),
        ("GET", "/review/people"),
        ("POST", "/review/decide"),
        ("POST", "/review/content"),
        ("POST", "/review/seen"),
        ("POST", "/review/apart"),
        ("GET", "/review/decided"),
        ("POST", "/review/take-back"),
        ("POST", "/review/people/invite"),
        ("POST", "/review/people/close"),
    ],
)
def test_without_a_session_every_page_leads_to_the_door(site: Site, method: str, path: str) -> None:
    site.hold()
    answer = site.browser().request(method, path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/review/sign-in")


def test_a_page_shows_no_content_and_loads_none(site: Site) -> None:
    site.hold()
    answer = site.person().get("/review")
    assert "post/1" in answer.text
    assert "<img" not in answer.text
    assert "<video" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


def test_content_is_sent_when_asked_for_and_counted_until_the_days_limit(site: Site) -> None:
    site.hold()
    browser = site.person()
    key = key_in(browser.get("/review").text)
    for _ in range(2):
        shown = browser.post("/review/content", json={"key": key})
        assert (shown.content, shown.headers["content-type"]) == (PNG, "image/png")
        assert "sandbox" in shown.headers["content-security-policy"]
    assert browser.post("/review/seen", json={"key": key, "seconds": 90}).status_code == 204
    refused = browser.post("/review/content", json={"key": key})
    assert (refused.status_code, "limit" in refused.json()["message"]) == (409, True)
    page = browser.get("/review").text
    assert "2 of 2 views, 1.5 of 30 minutes" in page
    assert 'data-may-look="no"' in page


def test_what_no_browser_shows_is_not_sent(site: Site) -> None:
    site.hold()
    site.held.keep("post/1", b"<script>alert(1)</script>")
    browser = site.person()
    key = key_in(browser.get("/review").text)
    assert browser.post("/review/content", json={"key": key}).status_code == 409


def test_a_decision_leads_to_the_next_content(site: Site) -> None:
    site.hold("post/1")
    site.hold("post/2", 18)
    browser = site.person()
    first = browser.get("/review").text
    assert "post/1" in first
    answer = browser.post("/review/decide", data={"key": key_in(first), "verdict": "remove"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    assert "post/2" in browser.get("/review").text
    assert ("remove", "post/1") in [(each.action, each.reference) for each in site.outbox.due()]


def test_what_is_left_for_later_comes_last(site: Site) -> None:
    site.hold("post/1")
    site.hold("post/2", 18)
    browser = site.person()
    browser.post(
        "/review/decide", data={"key": key_in(browser.get("/review").text), "verdict": "skip"}
    )
    assert "post/2" in browser.get("/review").text


@pytest.mark.parametrize(
    "fields", [{"verdict": "keep"}, {"verdict": "keep", "reason": "x"}, {"verdict": "burn"}, {}]
)
def test_an_unclear_decision_changes_nothing(site: Site, fields: dict[str, str]) -> None:
    site.hold()
    browser = site.person()
    key = key_in(browser.get("/review").text)
    assert browser.post("/review/decide", data={"key": key, **fields}).status_code == 400
    assert key_in(browser.get("/review").text) == key


def test_a_decision_on_something_withdrawn_says_so(site: Site) -> None:
    site.hold()
    browser = site.person()
    key = key_in(browser.get("/review").text)
    site.outbox.withdraw()
    answer = browser.post("/review/decide", data={"key": key, "verdict": "remove"})
    assert "decided already, or its listing was withdrawn" in answer.text


def test_two_people_are_shown_different_content(site: Site) -> None:
    site.hold("post/1")
    site.hold("post/2", 18)
    ann, bob = site.person("Ann"), site.person("Bob", Role.REVIEWER)
    assert "post/1" in ann.get("/review").text
    assert "post/2" in bob.get("/review").text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_a_form_of_another_site_is_refused(site: Site, headers: dict[str, str]) -> None:
    site.hold()
    browser = site.person()
    key = key_in(browser.get("/review").text)
    answer = browser.post("/review/decide", data={"key": key, "verdict": "remove"}, headers=headers)
    assert answer.status_code == 403
    assert key_in(browser.get("/review").text) == key


def test_only_a_lead_invites_and_closes_accounts(site: Site) -> None:
    lead, reviewer = site.person("Ann"), site.person("Bob", Role.REVIEWER)
    invite = {"name": "Cid", "role": "reviewer"}
    assert reviewer.get("/review/people").status_code == 403
    assert reviewer.post("/review/people/invite", data=invite).status_code == 403
    page = lead.post("/review/people/invite", data=invite).text
    invitation = page.split('class="number">')[1].split("<")[0]
    assert site.sign_in.registration(invitation)["user"]["name"] == "Cid"
    bob = next(each for each in site.sign_in.reviewers() if each.name == "Bob")
    lead.post("/review/people/close", data={"reviewer": str(bob.reviewer)})
    assert reviewer.get("/review").status_code == 303


def test_signing_out_ends_the_session(site: Site) -> None:
    browser = site.person()
    browser.post("/review/sign-out")
    assert browser.get("/review").headers["location"] == "/review/sign-in"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"key": "\xff"}', b'{"key": []}'])
def test_a_malformed_form_of_json_is_refused(site: Site, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = site.person().post("/review/content", content=body, headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"{", b'{"id": "\xff"}', b"x" * 300_000, b"[" * 100_000]
)
def test_a_malformed_passkey_is_refused_with_a_text(site: Site, body: bytes) -> None:
    for step in ("make", "use", "make-options", "other"):
        answer = site.browser().post(f"/review/passkey/{step}", content=body)
        assert answer.status_code in {400, 401}
        assert answer.json()["message"]


def test_a_name_with_markup_is_text(site: Site) -> None:
    browser = site.person("<b>Ann</b>")
    assert "<b>Ann" not in browser.get("/review/people").text


def hold_near_copies(site: Site) -> None:
    site.known = {"post/1": (Probe(Kind.PDQ, bytes(32)),), "post/2": (Probe(Kind.PDQ, ONE_BIT),)}
    site.hold("post/1")
    site.hold("post/2")


ONE_BIT = b"\1" + bytes(31)


def copy_in(page: str) -> str:
    return page.split('name="copy" value="')[1].split('"', maxsplit=1)[0]


def test_near_copies_are_named_counted_and_decided_together(site: Site) -> None:
    hold_near_copies(site)
    browser = site.person()
    page = browser.get("/review").text
    assert "One waits" in page
    assert "1 near copy will be decided with it" in page
    assert "1 bits away, 8 from the listing" in page
    browser.post("/review/content", json={"key": key_in(page)})
    browser.post("/review/decide", data={"key": key_in(page), "verdict": "remove"})
    assert "1 of 2 views" in browser.get("/review").text
    removed = [each.reference for each in site.outbox.due() if each.action == "remove"]
    assert removed == ["post/1", "post/2"]


def test_a_near_copy_is_decided_by_itself_if_somebody_wants_that(site: Site) -> None:
    hold_near_copies(site)
    browser = site.person()
    page = browser.get("/review").text
    fields = {"key": key_in(page), "copy": copy_in(page)}
    assert browser.post("/review/apart", data=fields).status_code == 303
    assert browser.post("/review/apart", data=fields).status_code == 409
    page = browser.get("/review").text
    assert "One of 2 that wait" in page
    assert "near copy" not in page


def test_a_decision_is_taken_back_from_the_queue(site: Site) -> None:
    hold_near_copies(site)
    browser = site.person("Ann", Role.REVIEWER)
    key = key_in(browser.get("/review").text)
    decision = {"key": key, "verdict": "keep", "reason": "not_intimate"}
    browser.post("/review/decide", data=decision)
    page = browser.get("/review").text
    assert "Nothing waits for you" in page
    assert "kept, 2 together" in page
    assert browser.post("/review/take-back", data={"key": key}).status_code == 303
    page = browser.get("/review").text
    assert key_in(page) == key
    assert "You last decided" not in page
    assert browser.post("/review/take-back", data={"key": key}).status_code == 409


def test_what_was_decided_is_shown_with_its_copies_and_one_of_them_is_taken_back(
    site: Site,
) -> None:
    hold_near_copies(site)
    ann, bob = site.person("Ann"), site.person("Bob", Role.REVIEWER)
    assert "Nothing has been decided yet" in ann.get("/review/decided").text
    key = key_in(ann.get("/review").text)
    ann.post("/review/decide", data={"key": key, "verdict": "remove"})
    page = ann.get("/review/decided").text
    assert "removed, by Ann" in page
    assert "Nobody looked" in page
    assert "near copy, 1 bits" in page
    assert "take-back" not in bob.get("/review/decided").text
    fields = {"key": key, "copy": copy_in(page)}
    assert bob.post("/review/take-back", data=fields).status_code == 409
    assert ann.post("/review/take-back", data=fields).status_code == 303
    assert "post/2" in ann.get("/review").text
    assert "post/2" not in ann.get("/review/decided").text


def test_in_pairs_neither_sees_the_others_choice_and_nothing_happens_before_they_agree(
    outbox: Outbox, tmp_path: Path
) -> None:
    site = Site(outbox, tmp_path, ReviewSettings(people=2))
    site.hold()
    ann, bob = site.person("Ann"), site.person("Bob", Role.REVIEWER)
    before = bob.get("/review/decided").text
    key = key_in(ann.get("/review").text)
    ann.post("/review/decide", data={"key": key, "verdict": "remove"})
    assert "1 wait for somebody else" in ann.get("/review").text
    page = bob.get("/review").text
    assert "without knowing what you chose" in page
    assert "removed" not in page
    assert bob.get("/review/decided").text == before
    assert "remove" not in [each.action for each in site.outbox.due()]
    bob.post("/review/decide", data={"key": key, "verdict": "remove"})
    assert "remove" in [each.action for each in site.outbox.due()]
    # Either of the two, or a lead, takes it back.
    assert "Take it back" in bob.get("/review").text
