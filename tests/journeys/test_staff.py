"""Two members of staff at the console, with passkeys, in a real browser."""

import subprocess
import sys

import httpx
import pytest

from tests.journeys.conftest import free_port, unspread, until

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
