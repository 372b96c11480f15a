"""The demo's sample platform as one server: the board in front of the platform kit.

`python -m unspread.demo.platform --data DIR --port N --clearinghouse URL`, started by
`unspread demo`. The board and the kit talk as any platform and its kit do: uploads go to
`POST /scan` over HTTP, take-downs come back as signed webhooks.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
import uvicorn

from unspread.demo import board
from unspread.errors import InputError
from unspread.platform_kit import app as kit_app
from unspread.platform_kit.actions.destinations import make_secret, read_keys
from unspread.platform_kit.actions.signature import verify
from unspread.platform_kit.settings import Settings

SECRET_FILE: Final = "keys/webhook.secret"  # noqa: S105 - a file's name
FIRST_KEY_FILE: Final = "keys/first.key"
POLICY: Final = {"unspread": {"actions": {"unverified": "refuse"}}}
"""A platform of real people would hold unverified matches for somebody to look at."""


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path))
@click.option("--port", required=True, type=int)
@click.option("--clearinghouse", "clearinghouse_url", required=True)
def serve(data: Path, port: int, clearinghouse_url: str) -> None:
    """Serve the sample board with the platform kit behind it, until stopped."""
    own_url = f"http://127.0.0.1:{port}"
    webhook = {"kind": "webhook", "url": f"{own_url}/board/unspread", "secret_file": SECRET_FILE}
    settings = Settings.load(data, port=port, lists=POLICY, actions=[webhook])
    secrets = read_keys(make_secret(data / SECRET_FILE))
    kit = kit_app.create_app(settings)
    # The kit makes its first key when it is created; the board is its first caller.
    key = (data / FIRST_KEY_FILE).read_text().strip()

    def verified(body: bytes, headers: Mapping[str, str]) -> dict[str, object]:
        verify(headers, body, secrets, int(time.time()))
        message = json.loads(body)
        if not isinstance(message, dict):
            raise InputError("a webhook is a JSON object")
        return message

    shown = board.create_app(
        board.Posts(data / "board"),
        board.scan_over_http(f"{own_url}/scan", {"authorization": f"Bearer {key}"}),
        verified,
        clearinghouse_url,
    )
    uvicorn.run(
        board.in_front_of(kit, shown),
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
    )


if __name__ == "__main__":
    serve()
