"""`unspread witness`: watch somebody else's log, so that it cannot show two lists unseen."""

import os
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import click

from unspread.crypto import PostQuantumSigningKey, SigningKey
from unspread.errors import InputError
from unspread.transparency.note import NoteSigner, VerifierKey
from unspread.transparency.witness import MAX_REQUEST_BYTES, Answer, Witness

_SECONDS_TO_SEND: Final = 10


def signing_seed(file: Path) -> bytes:
    """The 32 secret bytes in a key file, which is made if it is not there.

    Raises:
        InputError: if the file holds something else.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        seed = file.read_bytes()
        if len(seed) != 32:
            raise InputError("the key file does not hold 32 bytes") from None
        return seed
    with os.fdopen(descriptor, "wb") as out:
        seed = os.urandom(32)
        out.write(seed)
        out.flush()
        os.fsync(out.fileno())
    return seed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS_TO_SEND
    witness: Witness

    def do_POST(self) -> None:
        if self.path.rstrip("/") != "/add-checkpoint":
            self._answer(Answer(404, b"the only thing to post here is /add-checkpoint\n"))
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._answer(Answer(413, b"a request has a length, and not this one\n"))
            return
        body = self.rfile.read(int(length))
        self._answer(self.witness.add_checkpoint(body, datetime.now(UTC)))

    def do_GET(self) -> None:
        if self.path == "/health/live":
            self._answer(Answer(200, b"ok\n"))
        elif self.path.startswith("/latest/"):
            self._answer(self.witness.latest(self.path.removeprefix("/latest/")))
        else:
            self._answer(Answer(404, b"nothing here\n"))

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Addresses of callers are nobody's business."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def make_server(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server that answers for the witness, bound already; port 0 takes a free one."""
    handler = type("Handler", (_Handler,), {"witness": witness})
    return _Server((host, port), handler)


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where keys and what was signed are kept. Back it up.",
)
@click.option("--name", required=True, help="This witness's name, such as example.org/witness.")
@click.option(
    "--log",
    "logs",
    multiple=True,
    required=True,
    help="A log's key, as its operator publishes it. May be given more than once.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8010, show_default=True, help="Port to listen on.")
def witness(data: Path, name: str, logs: tuple[str, ...], host: str, port: int) -> None:
    """Witness somebody else's log.

    Signs a checkpoint only if it continues the last one signed. Give the two keys printed at the
    start to the log's operator and to the platforms that follow it.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    signers = [
        NoteSigner(name, SigningKey(signing_seed(data / "ed25519.key")), cosigns=True),
        NoteSigner(name, PostQuantumSigningKey(signing_seed(data / "ml-dsa-44.key"))),
    ]
    keys = [VerifierKey.from_text(each) for each in logs]
    server = make_server(Witness(signers, keys, data / "witnessed.sqlite"), host, port)
    for signer in signers:
        click.echo(f"key: {signer.key.to_text()}")
    click.echo(f"listening on http://{host}:{server.server_address[1]}")
    sys.stdout.flush()
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped")
