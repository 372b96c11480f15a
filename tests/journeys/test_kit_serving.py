"""The kit as a running process: it answers while it works, says what it does, and shares memory."""

import gzip
import json
import socket
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import httpx
import pyarrow.parquet as pq
import pytest

from tests.journeys.conftest import until
from tests.journeys.kit_stand import KitProcess, World, prepare
from unspread.fingerprint import fingerprint_image
from unspread.model import Kind
from unspread.testing.samples import encoded, landscape

LISTED = encoded(landscape(1, 480, 360))


@pytest.fixture
def world():
    made = World()
    value = fingerprint_image(LISTED).first(Kind.PDQ).value.hex()
    made.records = [(value, "Active")]
    yield made
    made.close()


@pytest.fixture
def start(tmp_path, world):
    """Starts a kit on one directory; stops all in the end."""
    started: list[KitProcess] = []
    data = tmp_path / "kit"

    def start(more: str = "", **environment: str) -> KitProcess:
        prepare(data, world, more)
        started.append(KitProcess(data, **environment))
        return started[-1].ready()

    yield start
    for each in started:
        each.stop()


def in_background(*calls) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for each in threads:
        each.start()
    return threads


def test_it_answers_others_while_uploads_are_decoded_and_much_is_looked_up(start):
    """Counts, not times: a blocked event loop would answer nobody until it is done."""
    kit = start("scan_workers = 1\nscan_queue = 8")
    large = encoded(landscape(7, 4000, 3000))
    random = Random(1)
    queries = [{"pdq": random.randbytes(32).hex()} for _ in range(10_000)]
    finished: list[int] = []

    def scan() -> None:
        finished.append(kit.scan(large).status_code)

    def look_up() -> None:
        body = {"queries": queries}
        answer = httpx.post(f"{kit.url}/lookup", json=body, headers=kit.headers, timeout=60)
        finished.append(answer.status_code)

    for work, at_least in ((scan, 10), (look_up, 3)):
        finished.clear()
        answered = 0
        with httpx.Client(timeout=60) as http:
            http.get(f"{kit.url}/health/live")
            threads = in_background(work)
            while not finished:
                assert http.get(f"{kit.url}/health/live").status_code == 200
                answered += not finished
        for each in threads:
            each.join()
        assert finished == [200]
        assert answered >= at_least


def test_beyond_its_queue_it_says_when_to_come_back_and_serves_on(start):
    kit = start("scan_workers = 1\nscan_queue = 1")
    large = encoded(landscape(7, 3000, 2000))
    answers: list[httpx.Response] = []
    for each in in_background(*[lambda: answers.append(kit.scan(large)) for _ in range(8)]):
        each.join()

    assert {each.status_code for each in answers} == {200, 503}
    turned_away = [each for each in answers if each.status_code == 503]
    assert all(int(each.headers["retry-after"]) > 0 for each in turned_away)
    assert kit.scan(LISTED).json()["decision"] == "refuse"


class Collector:
    """Takes OTLP over HTTP, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                collector.bodies.append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spans(self) -> dict[str, dict[str, str]]:
        """Name of each span to its attributes."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        found = {}
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for each in scope.spans:
                        attributes = {pair.key: str(pair.value) for pair in each.attributes}
                        found[each.name] = attributes
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_traces_logs_and_metrics_reach_their_readers_without_fingerprint_or_reference(start, world):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    collector = Collector()
    kit = start(f'traces = "{collector.url}"', OTEL_BSP_SCHEDULE_DELAY="100")
    assert kit.scan(LISTED, "refused-reference").status_code == 406
    other = encoded(landscape(2, 480, 360))
    assert kit.scan(other, "accepted-reference").status_code == 200
    assert kit.scan(b"no picture at all").status_code == 422
    value = fingerprint_image(other).first(Kind.PDQ).value.hex()
    world.records = [*world.records, (value, "Active"), ("not hex", "Active")]
    until(lambda: len(world.delivered) == 1)
    until(lambda: {"fingerprint", "decide", "take listings"} <= set(collector.spans()))
    metrics = httpx.get(f"{kit.url}/metrics", headers=kit.headers).text
    kit.stop()

    lines = kit.log.read_text().splitlines()
    assert any(json.loads(line)["event"] == "records were left out" for line in lines)
    said = "\n".join([*lines, metrics]).encode() + b"".join(collector.bodies)
    assert b"refuse" in said
    secrets = [value, world.records[0][0], "refused-reference", "accepted-reference"]
    secrets.append(kit.headers["authorization"].removeprefix("Bearer "))
    for secret in secrets:
        assert secret.encode() not in said
        if len(secret) == 64:
            assert bytes.fromhex(secret) not in said
    collector.close()


def test_replicas_match_from_the_leaders_snapshot_and_follow_it(start, world):
    start("scan_workers = 1").stop()
    leader = start("snapshot_after_changes = 1\nscan_workers = 1")
    index = until(lambda: mapped_index(leader))
    replica = start("snapshot_after_changes = 1\nscan_workers = 1\nreplica = true")
    assert until(lambda: mapped_index(replica)) == mapped_index(leader)

    other = encoded(landscape(2, 480, 360))
    assert replica.scan(other).status_code == 200
    value = fingerprint_image(other).first(Kind.PDQ).value.hex()
    world.records = [*world.records, (value, "Active")]
    until(lambda: replica.scan(other).status_code == 406)
    assert leader.scan(other).status_code == 406
    assert index


def mapped_index(kit: KitProcess) -> tuple[str, str] | None:
    """Inode and path of the index that a process has mapped."""
    for line in Path(f"/proc/{kit.process.pid}/maps").read_text().splitlines():
        fields = line.split()
        if fields[-1].endswith("/index") and "/snapshots/" in fields[-1]:
            return fields[4], fields[-1]
    return None


def test_readiness_says_what_is_missing_until_the_list_was_read(tmp_path, world):
    data = tmp_path / "kit"
    prepare(data, world)
    may_answer = threading.Event()
    world.on_page = lambda _: may_answer.wait(60) and None
    kit = KitProcess(data)
    try:
        answer = until(lambda: kit.answers("/health/ready"), 90)
        assert answer.status_code == 503
        assert [each["loaded"] for each in answer.json()["lists"]] == [False]
        assert kit.answers("/health/live").status_code == 200
        refused = kit.scan(LISTED)
        assert (refused.status_code, refused.json()["checked"]) == (503, False)
        may_answer.set()
        kit.ready()
        assert kit.scan(LISTED).status_code == 406
    finally:
        may_answer.set()
        kit.stop()


def test_a_refusal_arrives_whole_though_the_upload_was_not_wanted(start):
    """A caller that still sends when the answer comes gets the answer, not a reset connection."""
    kit = start("max_upload_bytes = 20000000")
    where = urlsplit(kit.url)
    megabyte = bytes(1 << 20)
    for size, headers, status in ((15, {}, 401), (25, kit.headers, 413)):
        with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
            lines = {"host": "kit", "connection": "close", "content-length": size << 20, **headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            connection.sendall(f"POST /scan HTTP/1.1\r\n{head}\r\n".encode())
            answer = connection.recv(1 << 16)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
            if status == 401:
                # More than all buffers between us hold: it is read, or this does not end.
                for _ in range(size):
                    connection.sendall(megabyte)
            while not answer.endswith(b"}") and (more := connection.recv(1 << 16)):
                answer += more
            assert answer.endswith(b"}")
    assert kit.answers("/health/live").status_code == 200


def test_a_catalogue_in_parquet_fills_as_uploads_pass_is_searched_and_forgets(
    start, world, tmp_path
):
    directory = tmp_path / "parquet"
    more = f'catalogue_parquet = "{directory}"\nscan_workers = 1'
    kit = start(more)
    other = encoded(landscape(2, 480, 360))
    assert kit.scan(other, "post-1").status_code == 200
    kit.stop()
    kit = start(more)  # it writes what is new at its start, and each minute
    until(lambda: references_in(directory) == {"post-1"})

    world.records = [*world.records, (pdq_hex(other), "Active")]
    until(lambda: [each["reference"] for each in world.delivered] == ["post-1"])
    command = [sys.executable, "-m", "unspread", "platform", "catalogue", "scan"]
    found = subprocess.run(
        [*command, "--data", str(kit.data), "--no-actions", str(directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split("\t")[1:] == ["1 match", "0 new actions\n"]

    # Taken down, it is forgotten, and leaves the files.
    until(lambda: not hosted(kit.data))
    kit.stop()
    start(more)
    until(lambda: references_in(directory) == set())


def pdq_hex(media: bytes) -> str:
    return fingerprint_image(media).first(Kind.PDQ).value.hex()


def references_in(directory: Path) -> set[str]:
    files = [pq.ParquetFile(path) for path in directory.glob("*.parquet")]
    return {name for file in files for name in file.read(["reference"])["reference"].to_pylist()}


def hosted(data: Path) -> list[str]:
    with sqlite3.connect(data / "platform.sqlite3") as database:
        return [name for (name,) in database.execute("SELECT reference FROM hosted")]
