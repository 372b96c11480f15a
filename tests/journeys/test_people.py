"""The people of a platform in front of a real browser, and its software, before a running kit."""

import hashlib
import hmac
import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import av
import httpx
import pytest
from lxml import etree
from PIL.Image import Transpose
from playwright.sync_api import Browser, Page, expect

from tests import ncmec_stand
from tests.journeys.conftest import free_port, unspread, until
from unspread.platform_kit.actions.receive import received
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey

SETTINGS = """
[lists.own]
source = "local"
[lists.own.actions]
confirmed = "hold"
corroborated = "hold"
unverified = "hold"
[webhook]
url = "{hook}"
[notices]
platform = "Forum"
hosts = ["forum.example"]
reference_pattern = '/(?P<reference>post-\\w+)$'
[[actions]]
kind = "command"
name = "mail"
argv = ["{python}", "{data}/tell-requester.py"]
on = ["tell"]
[hma]
enabled = true
without_key = true
[tusd]
url = "{hook}files/"
store = "{data}/tusd"
[mastodon]
url = "{hook}"
account_action = "sensitive"
[cybertip]
first_name = "Ann"
last_name = "Example"
email = "trust@forum.example"
address = "{ncmec}"
"""


@dataclass
class Forum:
    """A platform with a running kit, and what the kit told it to do."""

    data: Path
    url: str
    told: list[dict] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """What else the kit asked of the platform: (method, path)."""

    def key(self) -> str:
        return (self.data / "keys" / "first.key").read_text().strip()

    def upload(self, content: bytes, reference: str) -> int:
        answer = httpx.post(
            f"{self.url}/scan",
            params={"reference": reference},
            content=content,
            headers={"authorization": f"Bearer {self.key()}"},
            timeout=60,
        )
        return answer.status_code

    def settings_url(self) -> str:
        """The platform's own address, as the kit's settings have it."""
        settings = tomllib.loads((self.data / "platform.toml").read_text())
        return settings["mastodon"]["url"]

    def was_told(self, action: str, reference: str) -> bool:
        return any((each["action"], each["reference"]) == (action, reference) for each in self.told)


def mailing_program(data: Path) -> str:
    """The program of docs/platform/notices.md, with a sendmail that keeps what it is given."""
    sendmail = data / "sendmail"
    sendmail.write_text(f'#!/bin/sh\necho "to $2" >> {data}/mail\ncat >> {data}/mail\n')
    sendmail.chmod(0o755)
    page = (DOCS / "notices.md").read_text()
    program = page.split("```python\n")[1].split("```")[0]
    assert "/usr/sbin/sendmail" in program
    return program.replace("/usr/sbin/sendmail", str(sendmail))


DOCS = Path(__file__).parents[2] / "docs" / "platform"


def clip(bit_rate: int) -> bytes:
    """Three seconds over a landscape, as a browser can show them."""
    whole = landscape(822, 640, 480)
    made = BytesIO()
    with av.open(made, "w", format="webm") as video:
        stream = video.add_stream("vp8", rate=10)
        stream.width, stream.height, stream.bit_rate = 320, 240, bit_rate
        for step in range(30):
            view = whole.crop((step * 4, step * 3, step * 4 + 480, step * 3 + 360))
            frame = av.VideoFrame.from_image(view.resize((320, 240)))
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    return made.getvalue()


PROTECTED, KEPT, REPORTED = (landscape(seed, 640, 480) for seed in (815, 820, 821))
COPY = encoded(PROTECTED.resize((400, 300)), "JPEG", quality=80)


@pytest.fixture(scope="module")
def ncmec() -> Iterator[ncmec_stand.Ncmec]:
    with ncmec_stand.running() as stand:
        yield stand


@pytest.fixture(scope="module")
def forum(tmp_path_factory, ncmec: ncmec_stand.Ncmec) -> Iterator[Forum]:
    data = tmp_path_factory.mktemp("forum")
    port = free_port()
    running = Forum(data, f"http://localhost:{port}")

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/":
                self.answer(b'{"id": "7"}')
                return
            headers = {name.lower(): text for name, text in self.headers.items()}
            secret = (data / "keys" / "webhook.secret").read_text()
            now = int(datetime.now(UTC).timestamp())
            running.told.append(received(body, headers, secret, now))
            self.send_response(204)
            self.end_headers()

        def answer(self, content: bytes):
            running.asked.append((self.command, self.path))
            self.send_response(200 if self.command != "DELETE" else 204)
            self.end_headers()
            self.wfile.write(content if self.command != "DELETE" else b"")

        def do_GET(self):
            self.answer(COPY)

        def do_DELETE(self):
            self.answer(b"")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as hook:
        thread = threading.Thread(target=hook.serve_forever, args=(0.05,))
        thread.start()
        address = f"http://127.0.0.1:{hook.server_port}/"
        settings = SETTINGS.format(
            hook=address, data=data, python=sys.executable, ncmec=ncmec.address
        )
        (data / "platform.toml").write_text(settings)
        (data / "tell-requester.py").write_text(mailing_program(data))
        (data / "tusd").mkdir()
        (data / "keys").mkdir()
        (data / "keys" / "mastodon.token").write_text("a-token")
        (data / "keys" / "cybertip").write_text(f"{ncmec_stand.USER}\n{ncmec_stand.PASSWORD}\n")
        (data / "keys" / "mastodon.secret").write_text("a-secret")
        pictures = []
        for picture in (PROTECTED, KEPT, REPORTED):
            pictures.append(data / f"{len(pictures)}.png")
            pictures[-1].write_bytes(encoded(picture, "PNG"))
        pictures.append(data / "clip.webm")
        pictures[-1].write_bytes(clip(800_000))
        listed = ["--data", str(data), "--list", "own", *map(str, pictures)]
        unspread("platform", "bank", "add", *listed)
        with running_kit(running, port):
            yield running
        hook.shutdown()
        thread.join()


@contextmanager
def running_kit(forum: Forum, port: int) -> Iterator[subprocess.Popen]:
    """The kit as its operator starts it, until it is ready and then until the end."""
    command = [sys.executable, "-m", "unspread", "platform", "serve", "--data", str(forum.data)]
    log = (forum.data / "kit.log").open("ab")
    with log, subprocess.Popen([*command, "--port", str(port)], stderr=log) as process:
        try:
            until(lambda: is_ready(forum, process), 120)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def is_ready(forum: Forum, process: subprocess.Popen) -> bool:
    assert process.poll() is None, (forum.data / "kit.log").read_text()[-4000:]
    try:
        return httpx.get(f"{forum.url}/health/ready").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def staff(forum: Forum, chromium: Browser) -> Iterator[Page]:
    """The first reviewer, signed in with a passkey that the browser makes."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
            }
        },
    )
    page.goto(f"{forum.url}/review")
    expect(page).to_have_url(f"{forum.url}/review/sign-in")
    page.get_by_label("Invitation").fill(
        (forum.data / "keys" / "review.invitation").read_text().strip()
    )
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    yield page
    context.close()


def test_a_held_upload_is_looked_at_only_on_purpose_and_removed(forum: Forum, staff: Page):
    fetched: list[str] = []
    staff.on("request", lambda request: fetched.append(request.url))
    assert forum.upload(COPY, "post-1") == 409
    staff.goto(f"{forum.url}/review")
    expect(staff.get_by_text("post-1")).to_be_visible()
    staff.wait_for_load_state("networkidle")
    assert not any(url.endswith("/review/content") for url in fetched)
    assert staff.locator("img, video").count() == 0

    staff.locator("body").press("b")
    picture = staff.locator("#stage img")
    expect(picture).to_have_css("filter", "blur(28px) grayscale(1)")
    staff.keyboard.down(" ")
    expect(picture).to_have_css("filter", "grayscale(1)")
    staff.keyboard.up(" ")
    expect(picture).to_have_css("filter", "blur(28px) grayscale(1)")

    staff.keyboard.press("r")
    expect(staff.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    until(lambda: forum.was_told("remove", "post-1"))
    expect(staff.get_by_text("1 of 100 views")).to_be_visible()


def test_copies_that_were_changed_are_decided_alike_without_anyone_looking(
    forum: Forum, staff: Page
):
    smaller = encoded(PROTECTED.resize((500, 375)), "WEBP", quality=60)
    assert forum.upload(smaller, "post-2") == 409
    until(lambda: forum.was_told("remove", "post-2"))
    mirrored = encoded(PROTECTED.transpose(Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=75)
    assert forum.upload(mirrored, "post-2-mirrored") == 409
    until(lambda: forum.was_told("remove", "post-2-mirrored"))
    staff.goto(f"{forum.url}/review")
    expect(staff.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    expect(staff.get_by_text("1 of 100 views")).to_be_visible()


def test_a_decision_for_several_is_taken_back_looked_at_again_and_made_anew(
    forum: Forum, staff: Page
):
    staff.goto(f"{forum.url}/review/decided")
    copy = staff.get_by_role("listitem").filter(has_text="post-2-mirrored")
    expect(copy).to_contain_text("near copy")
    staff.goto(f"{forum.url}/review")
    staff.locator("body").press("u")
    expect(staff.get_by_role("heading", name="One waits")).to_be_visible()
    until(lambda: forum.was_told("hold", "post-2-mirrored"))
    staff.keyboard.down(" ")
    expect(staff.locator("#stage img")).to_have_css("filter", "grayscale(1)")
    staff.keyboard.up(" ")
    staff.get_by_text("2 near copies will be decided with it").click()
    apart = staff.get_by_role("listitem").filter(has_text="post-2-mirrored")
    apart.get_by_role("button", name="Decide it by itself").click()
    expect(staff.get_by_role("heading", name="One of 2 that wait")).to_be_visible()
    for _ in range(2):
        staff.locator("body").press("r")
    expect(staff.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    until(lambda: forum.told[-1]["action"] == "remove")


def test_a_video_plays_without_sound_and_only_while_it_is_held(forum: Forum, staff: Page):
    assert forum.upload(clip(500_000), "clip-1") == 409
    staff.goto(f"{forum.url}/review")
    expect(staff.get_by_text("clip-1")).to_be_visible()
    assert staff.locator("video").count() == 0
    staff.keyboard.down(" ")
    video = staff.locator("#stage video")
    expect(video).to_have_css("filter", "grayscale(1)")
    until(lambda: video.evaluate("video => !video.paused && video.currentTime > 0"))
    assert video.evaluate("video => [video.muted, video.controls]") == [True, False]
    staff.keyboard.up(" ")
    expect(video).to_have_css("filter", "blur(28px) grayscale(1)")
    assert video.evaluate("video => video.paused")
    # The same clip, encoded anew, is the same to a reviewer.
    assert forum.upload(clip(300_000), "clip-2") == 409
    staff.goto(f"{forum.url}/review")
    expect(staff.get_by_text("1 near copy will be decided with it")).to_be_visible()
    staff.locator("body").press("r")
    until(lambda: forum.was_told("remove", "clip-1") and forum.was_told("remove", "clip-2"))


def test_what_is_kept_is_released_with_a_reason(forum: Forum, staff: Page):
    other = encoded(KEPT.resize((200, 150)), "PNG")
    forum.upload(other, "post-3")
    staff.goto(f"{forum.url}/review")
    staff.locator("body").press("2")
    staff.locator("body").press("k")
    until(lambda: forum.was_told("release", "post-3"))
    assert not forum.was_told("remove", "post-3")


def test_a_report_is_filed_by_who_has_looked_and_by_nobody_else(
    forum: Forum, staff: Page, ncmec: ncmec_stand.Ncmec
):
    forum.upload(encoded(REPORTED.resize((300, 225)), "PNG"), "post-4")
    staff.goto(f"{forum.url}/review")
    staff.get_by_role("button", name="Report it to NCMEC").click()
    expect(staff.get_by_text("A match alone is never reported")).to_be_visible()
    expect(staff.get_by_text("test environment, which discards it")).to_be_visible()
    staff.get_by_label("Where? One address").fill("https://forum.example/post-4")
    with staff.expect_download() as download:
        staff.get_by_role("button", name="Download the draft").click()
    ncmec_stand.SCHEMA.assertValid(etree.parse(download.value.path()))
    staff.get_by_role("button", name="File the report").click()
    expect(staff.get_by_text("nobody has looked at it")).to_be_visible()
    assert ncmec.asked == []

    staff.goto(f"{forum.url}/review")
    staff.keyboard.down(" ")
    expect(staff.locator("#stage img")).to_have_css("filter", "grayscale(1)")
    staff.keyboard.up(" ")
    staff.get_by_role("button", name="Report it to NCMEC").click()
    staff.get_by_label("Where? One address").fill("https://forum.example/post-4")
    staff.get_by_label("sextortion").check()
    staff.get_by_role("button", name="File the report").click()
    until(lambda: forum.was_told("remove", "post-4"))
    assert ncmec.asked == ["/submit", "/upload", "/fileinfo", "/finish"]
    (report,) = ncmec.reports.values()
    assert report.state == "finished"
    (details,) = report.details.values()
    assert details.findtext("fileViewedByEsp") == "true"


def test_a_signed_notice_takes_down_what_it_names_and_its_copies(
    forum: Forum, staff: Page, phone: Page
):
    named = landscape(816, 640, 480)
    assert forum.upload(encoded(named, "JPEG", quality=90), "post-a") == 200
    assert forum.upload(encoded(named.resize((320, 240)), "WEBP", quality=70), "post-b") == 200
    assert forum.upload(encoded(landscape(817, 640, 480), "PNG"), "post-c") == 200

    phone.goto(f"{forum.url}/notices")
    phone.get_by_label("Where is it?").fill("https://forum.example/post-a")
    phone.get_by_label("How can the platform reach you?").fill("person@example.org")
    phone.get_by_label("Sign with your name").fill("A. Person")
    phone.get_by_role("button", name="Send the notice").click()
    expect(phone.get_by_text("has not been sent yet")).to_be_visible()
    phone.get_by_label("I believe in good faith").check()
    phone.get_by_role("button", name="Send the notice").click()
    number = phone.locator("#tracking").inner_text()

    staff.goto(f"{forum.url}/review/notices")
    staff.get_by_role("link", name="Notice 1").click()
    staff.get_by_role("button", name="Find it and its copies").click()
    expect(staff.get_by_text("post-b: copy")).to_be_visible()
    expect(staff.get_by_text("post-c")).to_have_count(0)
    staff.get_by_role("button", name="Remove all that are ticked").click()
    until(lambda: forum.was_told("remove", "post-a") and forum.was_told("remove", "post-b"))
    assert not forum.was_told("remove", "post-c")

    phone.goto(f"{forum.url}/notices/status")
    phone.get_by_label("Its number").fill(number)
    phone.get_by_role("button", name="Show it").click()
    expect(phone.locator("#answer")).to_contain_text("2 pieces, copies included")
    expect(phone.get_by_text("all of it is gone")).to_be_visible()
    until(lambda: (forum.data / "mail").read_text().count("to person@example.org") == 2)
    mailed = (forum.data / "mail").read_text()
    assert "has your complete notice" in mailed
    assert "decided to remove what your notice names" in mailed
    assert number not in mailed
    exported = unspread("platform", "notices", "export", "--data", str(forum.data)).stdout
    steps = [json.loads(json.loads(line)["line"])["step"] for line in exported.splitlines()]
    assert steps == ["received", "removed"]


def test_a_caller_of_hma_changes_one_address(forum: Forum):
    assert httpx.get(f"{forum.url}/status").text == "I-AM-ALIVE"
    found = httpx.post(f"{forum.url}/m/lookup", files={"photo": ("x", COPY)}, timeout=60).json()
    (match,) = found["pdq"]["OWN"]
    assert 0 <= int(match["distance"]) <= 31
    hashed = httpx.post(f"{forum.url}/h/hash", files={"photo": ("x", COPY)}, timeout=60).json()
    signal = {"signal_type": "pdq", "signal": hashed["pdq"]}
    # By its upright hash alone: a file is also looked up turned, mirrored and without its border.
    (same,) = httpx.get(f"{forum.url}/m/lookup", params=signal).json()["OWN"]
    assert same["bank_content_id"] == match["bank_content_id"]
    assert int(match["distance"]) <= int(same["distance"]) <= 31


def test_tusd_refuses_a_protected_upload_and_loses_it(forum: Forum):
    (forum.data / "tusd" / "abc").write_bytes(COPY)
    upload = {"ID": "abc", "Size": len(COPY), "Storage": {"Type": "filestore", "Path": "/x/abc"}}
    said = httpx.post(
        f"{forum.url}/hooks/tusd",
        json={"Type": "pre-finish", "Event": {"Upload": upload, "HTTPRequest": {}}},
        headers={"authorization": f"Bearer {forum.key()}"},
        timeout=60,
    ).json()
    assert said["HTTPResponse"]["StatusCode"] in {406, 409}
    until(lambda: ("DELETE", "/files/abc") in forum.asked)


def test_mastodon_has_a_protected_picture_reported(forum: Forum):
    media = {"id": "1", "url": f"{forum.settings_url()}media/1.jpg"}
    status = {"id": "113", "account": {"id": "42"}, "media_attachments": [media]}
    body = json.dumps({"event": "status.created", "object": status}).encode()
    signature = "sha256=" + hmac.new(b"a-secret", body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature": signature}
    answer = httpx.post(f"{forum.url}/hooks/mastodon", content=body, headers=headers, timeout=60)
    assert answer.json() == {"scanned": 1}
    assert ("POST", "/api/v1/reports") in forum.asked


def test_no_log_line_names_content_or_people(forum: Forum, staff: Page):
    log = (forum.data / "kit.log").read_text()
    for secret in ("post-1", "post-a", "person@example.org", "A. Person", "First reviewer"):
        assert secret not in log


def test_an_order_survives_the_death_of_the_kit_and_a_receiver_that_is_away(tmp_path: Path):
    port, hook_port = free_port(), free_port()
    forum = Forum(tmp_path, f"http://localhost:{port}")
    hook = f"http://127.0.0.1:{hook_port}/"
    settings = '[lists.own]\nsource = "local"\n[lists.own.actions]\nunverified = "refuse"\n'
    (tmp_path / "platform.toml").write_text(f'{settings}[webhook]\nurl = "{hook}"\n')
    picture = tmp_path / "protected.png"
    picture.write_bytes(encoded(PROTECTED, "PNG"))
    with running_kit(forum, port) as kit:
        assert forum.upload(COPY, "post-1") == 200
        unspread("platform", "bank", "add", "--data", str(tmp_path), "--list", "own", str(picture))
        until(lambda: b"action_failed" in (tmp_path / "kit.log").read_bytes())
        kit.kill()

    killed = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            forum.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if len(forum.told) == 1:
                # It was done, and the kit dies before it hears of that.
                killed.wait(60)
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", hook_port), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with running_kit(forum, port) as kit:
            until(lambda: forum.was_told("remove", "post-1"))
            kit.kill()
        killed.set()
        with running_kit(forum, port):
            until(lambda: len(forum.told) == 2)
            shown = ["platform", "actions", "dead", "--data", str(tmp_path)]
            assert unspread(*shown).stdout == ""
        server.shutdown()
        thread.join()
    # Twice, because at least once is all that can be promised; once by its id.
    assert len({each["id"] for each in forum.told}) == 1
    assert {each["action"] for each in forum.told} == {"remove"}
