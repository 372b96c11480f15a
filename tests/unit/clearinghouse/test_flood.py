"""Under a flood the pages answer, withdrawal goes on, and proofs of work grow dearer."""

import asyncio
import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import altcha
import httpx
import pytest

from unspread.model import Age
from unspread.person import case

from .conftest import picture, receipt, until
from .test_kill import free_port

CONNECTIONS = 24
PROVEN = 24
"""Submissions with a proof: more than is usual here, even if they take three minutes."""

PAGES = ("/en/", "/en/help", "/v1/about", "/health/ready")

_SERVE = """
import sys
from pathlib import Path
import uvicorn
from unspread.clearinghouse.app import create_app
from unspread.clearinghouse.settings import Settings
settings = Settings(
    data=Path(sys.argv[1]),
    submissions_per_minute=6.5,
    client_address_header="x-forwarded-for",
)
uvicorn.run(create_app(settings), port=int(sys.argv[2]), log_level="critical")
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(tmp_path / "data"), str(port)],
            stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert child.poll() is None, (tmp_path / "log").read_text()
        try:
            return httpx.get(f"{address}/health/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        until(is_ready, 90)
        yield address
    finally:
        child.terminate()
        child.wait(60)


def from_network(number: int) -> dict[str, str]:
    """Headers of a client in one of 65 536 networks."""
    return {"x-forwarded-for": f"100.{number >> 8 & 255}.{number & 255}.1"}


def proven(client: httpx.Client, number: int) -> bytes:
    headers = from_network(number)
    asked = client.get("/v1/proof-of-work", headers=headers).json()
    challenge = altcha.Challenge.from_dict(asked)
    proof = altcha.Payload(challenge, altcha.solve_challenge(challenge)).to_base64()
    return case.submission(receipt(number), [picture(number)], Age.UNKNOWN, proof).to_json()


async def flood(url: str, bodies: list[bytes]) -> tuple[Counter[int], list[int]]:
    """Status of each answer to the flood, and of each page that somebody else opens meanwhile."""
    answered: Counter[int] = Counter()
    pages: list[int] = []
    junk = case.submission(receipt(1), [picture(1)], Age.UNKNOWN, "no proof").to_json()
    numbers = iter(range(1_000_000))
    over = asyncio.Event()

    async def attacker(http: httpx.AsyncClient) -> None:
        while not over.is_set():
            number = next(numbers)
            body = bodies.pop() if bodies and number % 5 == 0 else junk
            headers = from_network(number % 4096)
            answer = await http.post("/v1/cases", content=body, headers=headers)
            answered[answer.status_code] += 1

    async def visitor(http: httpx.AsyncClient) -> None:
        for path in itertools.chain(PAGES * 5, itertools.cycle(PAGES)):
            if len(pages) >= 5 * len(PAGES) and not bodies:
                break
            pages.append((await http.get(path)).status_code)
        over.set()

    options = httpx.Limits(max_connections=CONNECTIONS + 1)
    async with (
        httpx.AsyncClient(base_url=url, timeout=60, limits=options, trust_env=False) as http,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CONNECTIONS):
            group.create_task(attacker(http))
        group.create_task(visitor(http))
    return answered, pages


def figure(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.timeout(300)
def test_the_page_answers_while_it_is_flooded(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        origin = client.get("/v1/about").json()["log_origin"]
        calm = figure(client, "unspread_proof_of_work_cost")
        assert client.post("/v1/cases", content=proven(client, 9000)).status_code == 201
        bodies = [proven(client, number) for number in range(10, 10 + PROVEN)]
        answered, pages = asyncio.run(flood(url, bodies))
        assert set(pages) == {200}
        assert answered[201] == PROVEN
        assert answered[422] > PROVEN
        # A network that sends too much waits; nothing breaks, and nothing is dropped unsaid.
        assert set(answered) <= {201, 422, 429, 503}
        assert figure(client, "unspread_proof_of_work_cost") >= 8 * calm
        gone = case.withdrawal_request(receipt(9000), [0], origin)
        assert client.post("/v1/cases/withdraw", content=gone.to_json()).status_code == 200
        # Dearer, and still to be had.
        assert client.post("/v1/cases", content=proven(client, 9001)).status_code == 201
