"""Nothing that the process writes holds what it must not: one search over everything."""

import base64
import subprocess
import sys
from pathlib import Path

import altcha
import httpx
import pytest

from unspread.case_protocol import to_b64
from unspread.model import Age, Kind
from unspread.person import case

from .conftest import picture, receipt, until
from .test_kill import free_port

ADDRESS = "203.0.113.77"
AGENT = "a-browser-that-tells-much/1.0"
FILE_NAME = "me-on-the-beach-1999.jpg"


def spellings(value: bytes) -> list[bytes]:
    """How bytes may turn up in a text or a file."""
    plain = base64.b64encode(value).rstrip(b"=")
    return [value, value.hex().encode(), to_b64(value).encode(), plain, repr(value).encode()]


def written(data: Path, log: Path, *, but: set[str]) -> dict[str, bytes]:
    """Everything that the process wrote, by name: its log and its files."""
    found = {"what it printed": log.read_bytes()}
    for path in data.rglob("*"):
        if path.is_file() and not any(part in but for part in path.relative_to(data).parts):
            found[str(path.relative_to(data))] = path.read_bytes()
    return found


@pytest.fixture
def served(tmp_path: Path) -> "tuple[str, Path, Path, subprocess.Popen[bytes]]":
    port = free_port()
    data, log = tmp_path / "data", tmp_path / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "unspread", "clearinghouse", "serve", "--training",
             "--data", str(data), "--port", str(port), "--tick", "0.05",
             "--client-address-header", "x-forwarded-for"],
            stdout=output, stderr=output,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert child.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/health/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    until(is_ready, 90)
    return url, data, log, child


def test_no_secret_is_written_where_it_must_not_be(
    served: "tuple[str, Path, Path, subprocess.Popen[bytes]]",
) -> None:
    url, data, log, child = served
    headers = {"x-forwarded-for": ADDRESS, "user-agent": AGENT, "cookie": "session=tells-much"}
    secret, other = receipt(0x5EC4E7), receipt(0x07438)
    withdrawn, kept = picture(11), picture(12)
    challenges: list[str] = []
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:

        def proof() -> str:
            challenge = altcha.Challenge.from_dict(client.get("/v1/proof-of-work").json())
            solution = altcha.solve_challenge(challenge)
            return altcha.Payload(challenge, solution).to_base64()

        about = client.get("/v1/about")
        assert about.headers["cache-control"] == "no-store"
        origin = about.json()["log_origin"]
        for owner, media in ((secret, [withdrawn, kept]), (other, [picture(13, quality=3)])):
            message = case.submission(owner, media, Age.MINOR, proof())
            assert client.post("/v1/cases", content=message.to_json()).status_code == 201
            challenges.append(client.get("/v1/challenge").json()["challenge"])
            request = case.case_request(owner, "status", origin, challenges[-1])
            assert client.post("/v1/cases/status", content=request.to_json()).is_success
        for number in (0, 1):
            gone = case.withdrawal_request(secret, [number], origin)
            assert client.post("/v1/cases/withdraw", content=gone.to_json()).is_success
        # What goes wrong must not be told in full either.
        wrong = case.submission(secret, [withdrawn], Age.MINOR, "not a proof").to_json()
        named = wrong.replace(b"{", b'{"file_name": "' + FILE_NAME.encode() + b'", ', 1)
        for body in (named, wrong, wrong[:-9], wrong.replace(b"minor", b"min"), b"\xff" + wrong):
            assert client.post("/v1/cases", content=body).status_code >= 400
        assert client.post("/v1/cases/status", content=wrong).status_code == 400
        assert client.get(f"/{kept.fingerprints[0].value.hex()}").status_code == 404
        assert client.get(f"/feed/{kept.fingerprints[0].value.hex()}").status_code == 404
        assert client.get(f"/staff/join/{secret.to_text()}").status_code == 400
        assert client.get(f"/{FILE_NAME}").status_code == 404
        metrics = client.get("/metrics").content
        # Four policies, a seed, two listings and their withdrawals, and canaries if one was due.
        until(lambda: int(client.get("/log/checkpoint").text.splitlines()[1]) >= 9)
    child.terminate()
    assert child.wait(60) in {0, -15}  # stopped in order, and says by what
    files = written(data, log, but={"keys"})
    files["metrics"] = metrics
    never = {
        "an address": [ADDRESS.encode(), b"203.0.113"],
        "a browser": [AGENT.encode()],
        "a cookie": [b"tells-much"],
        "a file's name": [FILE_NAME.encode(), b"me-on-the-beach"],
        "a receipt": [secret.to_text().encode(), *spellings(secret.secret)],
        "a case's private key": spellings(secret.case_key().seed()),
        "a challenge": [each.encode() for each in challenges],
    }
    # Withdrawn: gone from everywhere. MD5 and SHA-256 of these pictures are short numbers: the
    # PDQ is what is looked for.
    for media in (withdrawn, kept):
        value = media.first(Kind.PDQ)
        assert value is not None
        never.setdefault("an erased fingerprint", []).extend(spellings(value.value))
    never["an erased salt"] = spellings(secret.item_salt(0)) + spellings(secret.item_salt(1))
    for what, texts in never.items():
        for name, content in files.items():
            assert not any(text in content for text in texts), f"{what} in {name}"
    held = picture(13, quality=3).fingerprints[0].value
    outside = {name: each for name, each in files.items() if "sqlite3" not in name}
    assert any(held in each for each in files.values()), "this search would find it"
    for name, content in outside.items():
        for text in (*spellings(held), to_b64(secret.case_key().public).encode()):
            assert text not in content, name
    assert (data / "keys" / "log.key").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
