"""Other people's software, joined to the kit as its page in docs/platform says."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import Demo, free_port, until
from unspread.testing.samples import encoded, landscape

pytestmark = pytest.mark.journey


def kit_key(demo: Demo) -> str:
    (path,) = demo.data.rglob("first.key")
    return path.read_text().strip()


@pytest.fixture(scope="module")
def protected(demo: Demo, tmp_path_factory) -> bytes:
    """A smaller copy of a picture that somebody has protected."""
    picture = landscape(4711, 640, 480)
    path = tmp_path_factory.mktemp("protected") / "a.png"
    path.write_bytes(encoded(picture, "PNG"))
    demo.submit(path)
    copy = encoded(picture.resize((400, 300)), "JPEG", quality=80)
    until(lambda: pict_rs_sends(demo, copy).status_code == 406)
    return copy


@pytest.fixture(scope="module")
def harmless() -> bytes:
    return encoded(landscape(4712, 640, 480), "JPEG", quality=90)


def pict_rs_sends(demo: Demo, content: bytes) -> httpx.Response:
    """What pict-rs does for `external_validation` (releases/0.4.3.md): the file, its type."""
    host = demo.platform_url.removeprefix("http://")
    return httpx.post(
        f"http://x:{kit_key(demo)}@{host}/scan",
        content=content,
        headers={"content-type": "image/jpeg"},
        timeout=60,
    )


def test_pict_rs_refuses_a_protected_picture_and_takes_another(demo, protected, harmless):
    assert pict_rs_sends(demo, protected).status_code == 406
    assert pict_rs_sends(demo, harmless).is_success


@contextmanager
def running_synapse(demo: Demo, directory: Path, **config: object) -> Iterator[str]:
    """A Synapse from PyPI on this machine, with SQLite and our module."""
    port = free_port()
    generate = ["--generate-config", "--report-stats=no", "--server-name=matrix.example"]
    generate += [f"--config-path={directory}/homeserver.yaml", f"--data-directory={directory}"]
    command = [sys.executable, "-m", "synapse.app.homeserver"]
    subprocess.run([*command, *generate], check=True, cwd=directory, capture_output=True)
    key_file = directory / "unspread.key"
    key_file.write_text(kit_key(demo))
    ours = {"url": demo.platform_url, "key_file": str(key_file), **config}
    (directory / "ours.yaml").write_text(
        json.dumps(
            {
                "listeners": [
                    {
                        "port": port,
                        "type": "http",
                        "bind_addresses": ["127.0.0.1"],
                        "resources": [{"names": ["client", "media"]}],
                    }
                ],
                "registration_shared_secret": "secret",
                "trusted_key_servers": [],
                "modules": [
                    {"module": "unspread.platform_kit.hooks.synapse.Unspread", "config": ours}
                ],
            }
        )
    )
    started = [*command, "-c", f"{directory}/homeserver.yaml", "-c", f"{directory}/ours.yaml"]
    url = f"http://127.0.0.1:{port}"
    log = (directory / "synapse.log").open("wb")
    with log, subprocess.Popen(started, cwd=directory, stdout=log, stderr=log) as process:
        try:
            until(lambda: is_up(f"{url}/health", process), 120)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def is_up(url: str, process: subprocess.Popen) -> bool:
    assert process.poll() is None, "Synapse ended"
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def signed_in(url: str) -> dict[str, str]:
    """A new user's headers: https://element-hq.github.io/synapse/latest/admin_api/register_api.html"""
    register = f"{url}/_synapse/admin/v1/register"
    nonce = httpx.get(register).json()["nonce"]
    parts = [nonce, "ann", "a password", "notadmin"]
    mac = hmac.new(b"secret", "\0".join(parts).encode(), hashlib.sha1).hexdigest()
    user = {"nonce": nonce, "username": "ann", "password": "a password", "mac": mac}
    token = httpx.post(register, json=user, timeout=60).json()["access_token"]
    return {"authorization": f"Bearer {token}"}


def upload(url: str, headers: dict[str, str], content: bytes) -> int:
    """A client's upload: https://spec.matrix.org/latest/client-server-api/#content-repository"""
    answer = httpx.post(
        f"{url}/_matrix/media/v3/upload",
        content=content,
        headers={**headers, "content-type": "image/jpeg"},
        timeout=60,
    )
    return answer.status_code


@pytest.mark.long
def test_synapse_refuses_a_protected_picture_and_takes_another(demo, protected, harmless, tmp_path):
    with running_synapse(demo, tmp_path) as url:
        headers = signed_in(url)
        assert upload(url, headers, harmless) == 200
        assert upload(url, headers, protected) in {400, 403}
        stored = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(path.read_bytes() == protected for path in stored)


@pytest.mark.long
@pytest.mark.parametrize(("when", "kept"), [("refuse", False), ("accept", True)])
def test_synapse_does_what_its_operator_said_when_the_kit_is_away(
    demo, harmless, tmp_path, when, kept
):
    away = f"http://127.0.0.1:{free_port()}"
    with running_synapse(demo, tmp_path, url=away, when_unavailable=when) as url:
        assert (upload(url, signed_in(url), harmless) == 200) is kept
