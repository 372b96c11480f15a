"""A clearinghouse in this process, with its real routes, database and publisher."""

import asyncio
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import altcha
import httpx
import psycopg
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPSignatureKeyResolver,
    algorithms,
)

from unspread.case_protocol import to_b64
from unspread.clearinghouse import composition, key_files
from unspread.clearinghouse.app import application
from unspread.clearinghouse.publisher import DatabaseEntries
from unspread.clearinghouse.service import Service
from unspread.clearinghouse.settings import Settings
from unspread.crypto import OpeningKey, Receipt, SigningKey
from unspread.model import Age, Fingerprint, Kind, Media, MediaFingerprint
from unspread.person import case

from .postgres import cluster

URL = "http://127.0.0.1:8000"


def pdq(seed: int) -> bytes:
    """A plausible PDQ: 128 one-bits, unrelated for every seed."""
    import random

    bits = random.Random(seed).sample(range(256), 128)
    return sum(1 << bit for bit in bits).to_bytes(32, "big")


def picture(seed: int, quality: int = 100) -> MediaFingerprint:
    """What a device computes from a picture."""
    return MediaFingerprint(
        Media.IMAGE,
        (
            Fingerprint(Kind.PDQ, pdq(seed), quality=quality),
            Fingerprint(Kind.SHA256, seed.to_bytes(32, "big")),
            Fingerprint(Kind.MD5, seed.to_bytes(16, "big")),
        ),
    )


class Running:
    """A clearinghouse and a client that talks to its routes without a network."""

    def __init__(self, service: Service, app: Any, portal: BlockingPortal) -> None:
        self.service = service
        self._app = app
        self._portal = portal

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, answered in full."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=("192.0.2.77", 4711))
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                return await client.request(method, path, **options)

        return self._portal.call(ask)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: bytes) -> httpx.Response:
        return self.request(
            "POST", path, content=body, headers={"content-type": "application/json"}
        )

    def proof(self) -> str:
        """A solved proof of work."""
        challenge = altcha.Challenge.from_dict(self.get("/v1/proof-of-work").json())
        solution = altcha.solve_challenge(challenge)
        return altcha.Payload(challenge, solution).to_base64()

    def submit(
        self, receipt: Receipt, media: Sequence[MediaFingerprint], age: Age = Age.MINOR
    ) -> httpx.Response:
        message = case.submission(receipt, media, age, self.proof())
        return self.post("/v1/cases", message.to_json())

    def status(self, receipt: Receipt, purpose: str = "status") -> httpx.Response:
        challenge = self.get("/v1/challenge").json()["challenge"]
        message = case.case_request(receipt, purpose, self.service.log_origin, challenge)
        return self.post(f"/v1/cases/{purpose}", message.to_json())

    def withdraw(self, receipt: Receipt, *numbers: int) -> httpx.Response:
        message = case.withdrawal_request(receipt, numbers, self.service.log_origin)
        return self.post("/v1/cases/withdraw", message.to_json())

    def committed(self) -> int:
        """How many entries the log has in the database."""
        return int(self.service.readers.ask_now(lambda c: DatabaseEntries(c).size()))

    def until_published(self) -> int:
        """Wait for all that is committed to be public, in log and feeds; how many entries."""
        size = self.committed()
        until(lambda: self.service.subscribers.size >= size)
        return size

    def listing_id(self, receipt: Receipt, number: int = 0) -> int:
        """Where an item stands in the log; the clearinghouse's own entries stand before it."""
        return int(self.status(receipt).json()["items"][number]["listing_id"])


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Poll a condition that another thread makes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


def receipt(seed: int = 1) -> Receipt:
    return Receipt(seed.to_bytes(13, "big"))


@contextmanager
def running(settings: Settings, clock: Callable[[], float] = time.time) -> Iterator[Running]:
    """A clearinghouse with these settings, until the end of the block."""
    service = Service(settings, clock=clock)
    app = application(service)
    with start_blocking_portal() as portal:
        started, stop = portal.call(asyncio.Event), portal.call(asyncio.Event)
        failed: list[str] = []

        async def lifespan() -> None:
            done = asyncio.Event()
            messages = iter(("lifespan.startup", "lifespan.shutdown"))

            async def receive() -> dict[str, str]:
                kind = next(messages)
                if kind == "lifespan.shutdown":
                    await stop.wait()
                return {"type": kind}

            async def send(message: Mapping[str, Any]) -> None:
                if message["type"].endswith("failed"):
                    failed.append(message["message"])
                started.set()
                if message["type"].startswith("lifespan.shutdown"):
                    done.set()

            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

        task = portal.start_task_soon(lifespan)
        portal.call(started.wait)
        if failed:
            task.exception()
            raise AssertionError(failed[0])
        try:
            yield Running(service, app, portal)
        finally:
            portal.call(stop.set)
            task.result()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file: migrating takes a second, copying none."""
    settings = Settings(data=tmp_path_factory.mktemp("empty"))
    key_files.prepare(settings)
    composition.compose(settings, "test", {})
    composition.migrate()
    return settings.sqlite_path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, with a migrated database to copy."""
    with cluster() as url, tempfile.TemporaryDirectory() as directory:
        migrated = Settings(data=Path(directory), database_url=new_postgres(url, "migrated"))
        composition.compose(migrated, "test", {})
        composition.migrate()
        yield url


def new_postgres(url: str, name: str, template: str = "template1") -> str:
    """The URL of a new database on this server, in the place of an older one."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return url.rpartition("/")[0] + f"/{name}"


def fresh_settings(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a clearinghouse with an empty database and fresh keys."""
    made = Settings(data=tmp_path / "data", url=URL, training=True, tick_seconds=0.05)
    key_files.prepare(made)
    if kind == "postgresql":
        url = request.getfixturevalue("postgres")
        return dataclasses.replace(made, database_url=new_postgres(url, "fresh", "migrated"))
    shutil.copy(request.getfixturevalue("empty_database"), made.sqlite_path)
    return made


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The same for each database; PostgreSQL's half of the tests runs with the long ones."""
    return fresh_settings(request.param, request, tmp_path)


on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
"""For what is about SQLite's files, or is tested on PostgreSQL by a test of its own."""


@pytest.fixture
def clearinghouse(settings: Settings) -> Iterator[Running]:
    """A running clearinghouse."""
    with running(settings) as started:
        yield started


class Platform:
    """A partner's side: keys, enrolment, signed requests."""

    def __init__(self, at: Running, name: str = "Sample board") -> None:
        self._at = at
        self.name = name
        self.signing_key = SigningKey(os.urandom(32))
        self.opening_key, _ = OpeningKey.generate()
        self.partner_id = ""

    def enroll(self, invitation: str) -> httpx.Response:
        body = {
            "invitation": invitation,
            "signing_key": to_b64(self.signing_key.public),
            "sealing_key": to_b64(self.opening_key.public),
        }
        answer = self._at.request("POST", "/v1/partners/enroll", json=body)
        if answer.is_success:
            self.partner_id = answer.json()["partner_id"]
        return answer

    def signed_post(self, path: str, body: bytes, *, nonce: str | None = None) -> httpx.Response:
        return self._at.request(
            "POST", path, content=body, headers=self.signature(path, body, nonce=nonce)
        )

    def signature(self, path: str, body: bytes, *, nonce: str | None = None) -> dict[str, str]:
        key = Ed25519PrivateKey.from_private_bytes(self.signing_key.seed())
        return signature_headers(f"{URL}{path}", body, self.partner_id, key, nonce)


class _Key(HTTPSignatureKeyResolver):
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        return self._key


def signature_headers(
    url: str, body: bytes, key_id: str, key: Ed25519PrivateKey, nonce: str | None
) -> dict[str, str]:
    request = httpx.Request("POST", url, content=body)
    HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_Key(key)).sign(
        request,
        key_id=key_id,
        nonce=nonce or os.urandom(8).hex(),
        body=body,
        covered_component_ids=("@method", "@target-uri", "content-digest"),
    )
    kept = ("content-digest", "signature", "signature-input", "content-type")
    return {name: request.headers[name] for name in kept if name in request.headers}


def admitted(at: Running, name: str = "Sample board", **options: Any) -> Platform:
    """A platform that is invited, enrolled and approved by two."""
    from unspread.clearinghouse import partners

    write = at.service.writer.submit
    scopes = options.get("scopes", frozenset({"feed", "feedback"}))
    invitation = write(
        lambda tx: partners.invite(
            tx, name, role=options.get("role", "platform"), scopes=scopes, by="A"
        )
    ).result()
    platform = Platform(at, name)
    assert platform.enroll(invitation).status_code == 201
    for by in ("A", "B"):
        write(lambda tx, by=by: partners.approve(tx, platform.partner_id, by=by)).result()
    return platform
