"""Each destination does its one thing against the real thing, and says when it could not."""

import asyncio
import dataclasses
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.unit.platform_kit.outbox import START, Outbox
from unspread.errors import InputError
from unspread.platform_kit.actions.command import CommandDelivery
from unspread.platform_kit.actions.delivery import Deliver, TryAgainError, UndeliverableError
from unspread.platform_kit.actions.destinations import make_secret, read_keys, routes
from unspread.platform_kit.actions.move import MoveDelivery, open_store
from unspread.platform_kit.actions.queue import QueueDelivery
from unspread.platform_kit.actions.settings import Command, Move, Webhook
from unspread.platform_kit.actions.signature import SharedSecret, WebhookCheck, verify
from unspread.platform_kit.actions.webhook import WebhookDelivery, retry_after_seconds
from unspread.platform_kit.store import ActionKind

SECRET = SharedSecret(b"a shared secret of 32 bytes.....")


@dataclass
class Server:
    """An HTTP server that answers as it is told and keeps what it got."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            state.got.append(({name.lower(): text for name, text in self.headers.items()}, body))
            self.send_response(state.status)
            for name, text in state.headers.items():
                self.send_header(name, text)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}/hook"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


def deliver(delivery: Deliver, outbox: Outbox) -> None:
    asyncio.run(delivery(outbox.due()[-1], outbox.now))  # type: ignore[arg-type]


def post(url: str, outbox: Outbox) -> None:
    async def once() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await WebhookDelivery(client, url, [SECRET], 10.0)(outbox.due()[-1], outbox.now)

    asyncio.run(once())


def test_a_webhook_says_what_to_do_and_is_signed(server: Server, outbox: Outbox) -> None:
    action = outbox.find("post/1")
    post(server.url, outbox)
    ((headers, body),) = server.got
    checks: list[WebhookCheck] = [SECRET]
    assert verify(headers, body, checks, int(START.timestamp())) == action.action_id
    assert json.loads(body) == {
        "version": 1,
        "id": action.action_id,
        "action": "remove",
        "reference": "post/1",
        "list": "unspread",
        "listing_id": 17,
        "level": "confirmed",
        "kind": "pdq",
        "distance_bits": 8,
        "rule": "unspread: confirmed -> refuse, 8 of 31 bits",
        "decided_at": "2026-11-23T05:00:00Z",
    }


def test_a_retried_webhook_is_the_same_message_with_a_new_time(
    server: Server, outbox: Outbox
) -> None:
    outbox.find("post/1")
    post(server.url, outbox)
    outbox.pass_time(hours=1)
    post(server.url, outbox)
    (first, body), (second, again) = server.got
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 3600


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_done(server: Server, outbox: Outbox, status: int) -> None:
    outbox.find("post/1")
    server.status = status
    post(server.url, outbox)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 409, 429, 500, 502, 503])
def test_anything_else_is_tried_again(server: Server, outbox: Outbox, status: int) -> None:
    outbox.find("post/1")
    server.status, server.headers = status, {"location": server.url, "retry-after": "120"}
    with pytest.raises(TryAgainError) as caught:
        post(server.url, outbox)
    assert (str(caught.value), caught.value.asked_seconds) == (f"answered {status}", 120.0)
    assert len(server.got) == 1


def test_a_receiver_that_is_gone_is_not_asked_again(server: Server, outbox: Outbox) -> None:
    outbox.find("post/1")
    server.status = 410
    with pytest.raises(UndeliverableError):
        post(server.url, outbox)


def test_a_receiver_that_does_not_listen_is_tried_again(outbox: Outbox) -> None:
    outbox.find("post/1")
    with pytest.raises(TryAgainError, match="no connection") as caught:
        post("http://user:secret@127.0.0.1:1/", outbox)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("30", 30.0),
        ("Mon, 23 Nov 2026 05:02:00 GMT", 120.0),
        ("Mon, 23 Nov 2026 04:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Mon, 23 Nov 2026 05:02:00", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, START) == seconds


def command(code: str, timeout_seconds: float = 60.0) -> CommandDelivery:
    return CommandDelivery((sys.executable, "-c", code), timeout_seconds)


def test_a_command_gets_the_action_on_its_standard_input(outbox: Outbox, tmp_path: Path) -> None:
    action = outbox.find("post/1; rm -rf /")
    written = tmp_path / "written"
    deliver(
        command(f"import sys; open({str(written)!r}, 'wb').write(sys.stdin.buffer.read())"), outbox
    )
    said = json.loads(written.read_bytes())
    assert (said["id"], said["reference"]) == (action.action_id, "post/1; rm -rf /")


@pytest.mark.parametrize(
    ("delivery", "error", "text"),
    [
        (command("exit(1)"), TryAgainError, "exit status 1"),
        (command("exit(100)"), UndeliverableError, "never can"),
        (command("import time; time.sleep(60)", 0.2), TryAgainError, "too long"),
        (CommandDelivery(("/no/such/program",), 5.0), TryAgainError, "cannot be started"),
    ],
    ids=["fails", "never can", "hangs", "is missing"],
)
def test_a_command_that_fails_is_tried_again_unless_it_says_never(
    delivery: CommandDelivery, error: type[Exception], text: str, outbox: Outbox
) -> None:
    outbox.find("post/1")
    with pytest.raises(error, match=text):
        deliver(delivery, outbox)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    public, quarantine = tmp_path / "public", tmp_path / "quarantine"
    public.mkdir()
    (public / "a").mkdir()
    (public / "a" / "1.jpg").write_bytes(b"picture")
    return public, quarantine


def move(places: tuple[Path, Path]) -> MoveDelivery:
    public, quarantine = places
    return MoveDelivery(
        open_store(str(public), {}), open_store(str(quarantine), {}), "a/{reference}"
    )


@pytest.mark.parametrize("hold", [True, False])
def test_a_move_takes_content_out_of_reach_and_twice_is_once(
    outbox: Outbox, places: tuple[Path, Path], hold: bool
) -> None:
    outbox.find("1.jpg", hold=hold)
    for _ in range(2):
        deliver(move(places), outbox)
    public, quarantine = places
    assert not (public / "a" / "1.jpg").exists()
    assert (quarantine / "a" / "1.jpg").read_bytes() == b"picture"


def test_a_release_moves_content_back_and_twice_is_once(
    outbox: Outbox, places: tuple[Path, Path]
) -> None:
    held = outbox.find("1.jpg", hold=True)
    deliver(move(places), outbox)
    released = type(held)(
        **{name: getattr(held, name) for name in held.__slots__} | {"action": ActionKind.RELEASE}
    )
    for _ in range(2):
        asyncio.run(move(places)(released, START))
    public, quarantine = places
    assert (public / "a" / "1.jpg").read_bytes() == b"picture"
    assert not (quarantine / "a" / "1.jpg").exists()
    (public / "a" / "1.jpg").unlink()
    with pytest.raises(UndeliverableError):
        asyncio.run(move(places)(released, START))


def test_content_that_is_already_gone_needs_no_removal(
    outbox: Outbox, places: tuple[Path, Path]
) -> None:
    outbox.find("other.jpg")
    deliver(move(places), outbox)


@pytest.mark.parametrize("reference", ["../../secret", "x/../../../secret"])
def test_a_reference_that_leads_elsewhere_moves_nothing(
    outbox: Outbox, places: tuple[Path, Path], reference: str
) -> None:
    (places[0].parent / "secret").write_bytes(b"secret")
    outbox.find(reference)
    with pytest.raises(UndeliverableError):
        deliver(move(places), outbox)
    assert (places[0].parent / "secret").exists()


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = make_secret(tmp_path / "keys" / "webhook.secret")
    (first,) = read_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_keys(make_secret(path)) == (first,)
    path.write_text(f"{SECRET.to_text()}\n{first.to_text()}\n")
    assert read_keys(path) == (SECRET, first)


@pytest.mark.parametrize("text", ["", "not a key\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(InputError):
        read_keys(path)


def test_settings_that_would_leave_content_up_are_refused(tmp_path: Path) -> None:
    async def made(*destinations: Command | Webhook) -> tuple[str, ...]:
        async with httpx.AsyncClient(trust_env=False) as client:
            return tuple(route.name for route in routes(destinations, tmp_path, client))

    def names(*destinations: Command | Webhook) -> tuple[str, ...]:
        return asyncio.run(made(*destinations))

    holds = Command(argv=("true",), on=(ActionKind.HOLD,))
    hook = Webhook(url="http://127.0.0.1/hook")
    assert names(holds, hook) == ("command", "webhook")
    with pytest.raises(InputError, match="remove"):
        names(holds)
    for bad in ("forum.example/hook", "ftp://forum.example", "http://", "http://x:y/", ""):
        with pytest.raises(InputError, match="url"):
            names(Webhook(url=bad))
    with pytest.raises(InputError, match="two actions are named webhook"):
        names(hook, hook)
    assert names() == ()


def test_an_http_date_far_ahead_does_not_park_an_action_for_ever() -> None:
    far = (START + timedelta(days=400)).astimezone(UTC)
    seconds = retry_after_seconds(far.strftime("%a, %d %b %Y %H:%M:%S GMT"), START)
    assert seconds == timedelta(days=400).total_seconds()
    assert isinstance(far, datetime)


@pytest.fixture
def aws() -> Iterator[dict[str, str]]:
    """Amazon's protocols, spoken by moto on this machine: what boto3's clients are made with."""
    pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
    yield {"endpoint_url": f"http://{host}:{port}", **keys}
    server.stop()


@pytest.mark.long
def test_a_move_between_buckets_takes_content_away_and_back(
    outbox: Outbox, aws: dict[str, str]
) -> None:
    import boto3

    s3 = boto3.client("s3", **aws)
    for bucket in ("uploads", "uploads-quarantine"):
        s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
    s3.put_object(Bucket="uploads", Key="media/a/red flower.jpg", Body=b"picture")
    options = {
        "endpoint": aws["endpoint_url"],
        "region": "eu-west-1",
        "access_key_id": "x",
        "secret_access_key": "x",
        "allow_http": "true",
    }

    def of_bucket(bucket: str) -> dict[str, bytes]:
        found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        names = [each["Key"] for each in found]
        return {name: s3.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}

    (route,) = routes(
        (
            Move(
                store="s3://uploads",
                quarantine="s3://uploads-quarantine",
                key="media/{reference}",
                options=options,
            ),
        ),
        Path(),
        httpx.AsyncClient(),
    )
    held = outbox.find("a/red flower.jpg", hold=True)
    for _ in range(2):
        deliver(route.deliver, outbox)
    assert of_bucket("uploads") == {}
    assert of_bucket("uploads-quarantine") == {"media/a/red flower.jpg": b"picture"}
    released = dataclasses.replace(held, action=ActionKind.RELEASE)
    for _ in range(2):
        asyncio.run(route.deliver(released, outbox.now))
    assert of_bucket("uploads") == {"media/a/red flower.jpg": b"picture"}
    assert of_bucket("uploads-quarantine") == {}


@pytest.mark.long
@pytest.mark.parametrize("name", ["actions", "actions.fifo"])
def test_a_queue_gets_each_action_as_a_message(
    outbox: Outbox, aws: dict[str, str], name: str
) -> None:
    import boto3

    action = outbox.find("post/1")
    client = boto3.client("sqs", **aws)
    options = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    queue = client.create_queue(QueueName=name, Attributes=options)["QueueUrl"]
    deliver(QueueDelivery(client, queue), outbox)
    (message,) = client.receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["id"] == action.action_id
    with pytest.raises(TryAgainError, match="the queue failed"):
        deliver(QueueDelivery(client, queue + "missing"), outbox)


@pytest.mark.parametrize("options", [{"no_such": "x"}, {"allow_http": "perhaps"}])
def test_a_bucket_that_cannot_be_opened_is_an_error_with_a_sentence(
    options: dict[str, str],
) -> None:
    with pytest.raises(InputError, match="not an object store that can be opened"):
        open_store("s3://uploads", options)
