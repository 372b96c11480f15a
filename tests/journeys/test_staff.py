"""Two members of staff at the console, with passkeys, in a real browser."""

import subprocess
import sys

import httpx
import pytest

from tests.journeys.conftest import free_port, unspread, until
from tests.journeys.test_page_for_everyone import violations
from unspread.case_protocol import to_b64
from unspread.crypto import OpeningKey, SigningKey

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """A clearinghouse at http://localhost, since passkeys are for names, and its data."""
    data = tmp_path_factory.mktemp("console") / "data"
    port = free_port()
    url = f"http://localhost:{port}"
    command = [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training"]
    command += ["--data", str(data), "--port", str(port), "--url", url]
    with subprocess.Popen(command) as process:

        def is_ready():
            assert process.poll() is None
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health/ready").is_success
            except httpx.TransportError:
                return False

        until(is_ready)
        yield url, data
        process.terminate()


def somebody_at_work(browser, console, name, role):
    """A signed-in member: invited on the command line, with a passkey on a virtual key."""
    url, data = console
    invited = unspread(
        "clearinghouse", "staff", "invite", name, "--role", role, "--data", str(data)
    )
    page = browser.new_context().new_page()
    page.set_default_timeout(60_000)
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    device.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    page.goto(url + invited.stdout.strip())
    page.get_by_role("button", name="Make a passkey").click()
    page.wait_for_url(f"{url}/staff/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"{url}/staff/today")
    return page


def test_two_members_pause_intake_and_one_alone_cannot(chromium, console):
    url, _ = console
    anna = somebody_at_work(chromium, console, "Anna", "integrity")
    ben = somebody_at_work(chromium, console, "Ben", "integrity")
    anna.goto(f"{url}/staff/incident")
    anna.get_by_label("Why").first.fill("a flood")
    anna.get_by_role("button", name="Propose to pause intake").click()
    anna.get_by_text("Waiting for a second member").wait_for()
    assert anna.get_by_role("button", name="Do it").count() == 0
    ben.goto(f"{url}/staff/incident")
    ben.get_by_role("button", name="Do it").click()
    ben.get_by_text("Intake is paused").wait_for()
    ben.goto(f"{url}/staff/trail")
    assert ben.get_by_text("approve.pause_intake").count() == 1


def test_onboarding_invites_and_the_auditor_only_reads(chromium, console):
    url, _ = console
    cleo = somebody_at_work(chromium, console, "Cleo", "onboarding")
    cleo.goto(f"{url}/staff/partners")
    cleo.get_by_label("Name").fill("A platform")
    cleo.get_by_role("button", name="Make an invitation").click()
    assert "a-platform." in cleo.get_by_role("status").inner_text()
    dora = somebody_at_work(chromium, console, "Dora", "auditor")
    dora.goto(f"{url}/staff/partners")
    dora.get_by_text("a-platform").first.wait_for()
    assert dora.get_by_role("button").all_inner_texts() == ["Sign out"]
    for screen in ("today", "review", "incident", "texts", "report", "trail"):
        assert dora.goto(f"{url}/staff/{screen}").status == 200
    dora.get_by_role("button", name="Sign out").click()
    dora.wait_for_url(f"{url}/staff/")
    dora.goto(f"{url}/staff/today")
    assert dora.url == f"{url}/staff/"


def test_an_editors_text_is_on_the_first_page_at_once(chromium, console):
    url, _ = console
    emil = somebody_at_work(chromium, console, "Emil", "editor")
    emil.goto(f"{url}/staff/texts")
    emil.get_by_label("A paragraph on the first page").fill("Call us between nine and five.")
    emil.get_by_role("button", name="Save").click()
    emil.goto(f"{url}/en/")
    emil.get_by_text("Call us between nine and five.").wait_for()


def test_every_screen_is_accessible_and_fits_a_phone(chromium, console):
    url, _ = console
    screens = ("today", "partners", "review", "incident", "texts", "report", "trail")
    for name, role in (("Ida", "integrity"), ("Olga", "onboarding"), ("Edda", "editor")):
        page = somebody_at_work(chromium, console, name, role)
        if role == "integrity":
            page.goto(f"{url}/staff/incident")
            page.get_by_label("Why").last.fill("what came this morning")
            page.get_by_label("From (UTC)").fill("2026-11-26T08:00")
            page.get_by_label("to (UTC)").fill("2026-11-26T09:00")
            page.get_by_role("button", name="Propose to suspend everything").click()
            page.get_by_text("Suspend everything that arrived from 2026-11-26 08:00").wait_for()
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 844})
            for screen in screens:
                page.goto(f"{url}/staff/{screen}")
                assert violations(page) == [], (role, width, screen)
                shown = page.evaluate("document.documentElement.scrollWidth")
                assert shown <= width, (role, width, screen)
    public = chromium.new_context(viewport={"width": 390, "height": 844}).new_page()
    for path in ("/staff/", "/transparency"):
        public.goto(url + path)
        assert violations(public) == [], path
        assert public.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_editor_keeps_helplines_in_a_form(chromium, console):
    url, _ = console
    page = somebody_at_work(chromium, console, "Egon", "editor")
    page.goto(f"{url}/staff/texts")
    line = page.get_by_role("group", name="One more")
    line.get_by_label("Name").fill("A line of our own")
    line.get_by_label("Telephone").fill("0800 1234")
    page.get_by_role("button", name="Save").click()
    # Without a source nothing is kept, and it says so.
    page.get_by_text("A line of our own: every helpline needs a name and its source").wait_for()
    page.go_back()
    page.get_by_role("group", name="One more").get_by_label("Source").fill("our own office")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("group", name="A line of our own").wait_for()
    assert "A line of our own" in httpx.get(f"{url}/en/help").text


def test_two_members_let_a_platform_in_at_the_console(chromium, console):
    url, data = console
    olga = somebody_at_work(chromium, console, "Oda", "onboarding")
    olga.goto(f"{url}/staff/partners")
    olga.get_by_label("Name").fill("A board with keys")
    olga.get_by_role("button", name="Make an invitation").click()
    invitation = olga.get_by_role("status").locator("code").inner_text()
    opening, _ = OpeningKey.generate()
    keys = {
        "signing_key": to_b64(SigningKey(b"k" * 32).public),
        "sealing_key": to_b64(opening.public),
    }
    answer = httpx.post(f"{url}/v1/partners/enroll", json={"invitation": invitation, **keys})
    assert answer.status_code == 201
    olga.goto(f"{url}/staff/partners")
    olga.get_by_role("button", name="Approve these keys").click()
    olga.get_by_text("approved by Oda").wait_for()
    olf = somebody_at_work(chromium, console, "Olf", "onboarding")
    # Two can sign in now: names on the command line count no more.
    with pytest.raises(subprocess.CalledProcessError) as refused:
        unspread("clearinghouse", "partner", "approve", "a-board-with-keys", "--by", "X",
                 "--by", "Y", "--data", str(data))  # fmt: skip
    assert "at /staff/partners" in refused.value.stderr
    olf.goto(f"{url}/staff/partners")
    row = olf.get_by_role("row").filter(has_text="a-board-with-keys")
    row.get_by_role("button", name="Approve these keys").click()
    olf.get_by_role("row").filter(has_text="a-board-with-keys").get_by_text("active").wait_for()


def test_a_platform_with_an_older_client_collects_a_key_that_nobody_else_sees(chromium, console):
    url, data = console
    # Whoever came before may sign in; these two do.
    one = somebody_at_work(chromium, console, "Orla", "onboarding")
    two = somebody_at_work(chromium, console, "Otto", "onboarding")
    one.goto(f"{url}/staff/partners")
    one.get_by_label("Name").fill("An older board")
    one.get_by_role("button", name="Make an invitation").click()
    one.get_by_role("status").wait_for()
    for page in (one, two):
        page.goto(f"{url}/staff/partners")
        row = page.get_by_role("row").filter(has_text="an-older-board")
        row.get_by_text("It will never have keys").click()
        row.get_by_role("button", name="Approve without keys").click()
    two.get_by_role("row").filter(has_text="an-older-board").get_by_text("active").wait_for()
    for way in (
        ("scope", "an-older-board", "--by", "X", "--by", "Y", "--level", "confirmed"),
        ("key", "issue", "an-older-board", "ncmec", "--by", "X", "--by", "Y"),
    ):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            unspread("clearinghouse", "partner", *way, "--data", str(data))
        assert "at /staff/partners" in refused.value.stderr

    form = one.locator("form").filter(has_text="Propose this key")
    one.goto(f"{url}/staff/partners")
    form.get_by_label("Partner").select_option("an-older-board")
    form.get_by_label("Programme").select_option("ncmec")
    form.get_by_label("confirmed").check()
    form.get_by_label("Why").fill("their client speaks nothing else")
    form.get_by_role("button", name="Propose this key").click()
    waiting = one.get_by_role("row").filter(has_text="Give a key to an-older-board")
    waiting.get_by_text("somebody else decides").wait_for()
    two.goto(f"{url}/staff/today")
    two.get_by_role("link", name="Partners (1)").click()
    waiting = two.get_by_role("row").filter(has_text="Give a key to an-older-board")
    assert "ncmec:read feedback levels=confirmed" in waiting.inner_text()
    waiting.get_by_role("button", name="Do it").click()
    code = two.get_by_role("status").locator(".code").inner_text()

    theirs = chromium.new_context(viewport={"width": 390, "height": 844}).new_page()
    theirs.goto(f"{url}/keys")
    assert violations(theirs) == []
    theirs.get_by_label("Code").fill(code)
    theirs.get_by_role("button", name="Make my keys and show them").click()
    theirs.get_by_text("shown this once").wait_for()
    assert violations(theirs) == []
    assert theirs.evaluate("document.documentElement.scrollWidth") <= 390
    user, password = theirs.locator("code").all_inner_texts()
    answer = httpx.get(f"{url}/exchange/ncmec/v2/entries", auth=(user, password))
    assert answer.status_code == 200, answer.text
    assert theirs.context.cookies() == []

    two.goto(f"{url}/staff/partners")
    key = two.get_by_role("row").filter(has_text="key-").first
    key.get_by_text("Revoke it at once").click()
    for width in (1280, 390):
        two.set_viewport_size({"width": width, "height": 844})
        assert violations(two) == []
        assert two.evaluate("document.documentElement.scrollWidth") <= width
    assert password not in two.content()
    key.get_by_role("button", name="Revoke this key").click()
    two.get_by_role("row").filter(has_text="key-").wait_for(state="detached")
    refused = httpx.get(f"{url}/exchange/ncmec/v2/entries", auth=(user, password))
    assert refused.status_code == 401
    two.goto(f"{url}/staff/trail")
    for act in ("propose.issue_key", "approve.issue_key", "key.issue", "key.revoke"):
        two.get_by_text(act, exact=True).wait_for()


def test_two_members_change_what_of_the_list_a_platform_gets(chromium, console):
    url, _ = console
    one = somebody_at_work(chromium, console, "Ophelia", "onboarding")
    two = somebody_at_work(chromium, console, "Orlando", "onboarding")
    form = one.locator("form").filter(has_text="Propose this").filter(has_text="surfaces")
    one.goto(f"{url}/staff/partners")
    form.get_by_label("Partner").select_option("an-older-board")
    form.get_by_label("public").check()
    form.get_by_label("countries").fill("de, at")
    form.get_by_label("Why").fill("they serve nobody else")
    form.get_by_role("button", name="Propose this").click()
    two.goto(f"{url}/staff/partners")
    waiting = two.get_by_role("row").filter(has_text="Change what of the list goes to")
    assert "surfaces=public countries=AT,DE" in waiting.inner_text()
    waiting.get_by_role("button", name="Do it").click()
    row = two.get_by_role("row").filter(has_text="an-older-board").first
    row.get_by_text("surfaces=public countries=AT,DE").wait_for()
