"""The demo's sample platform as one server: the board in front of the platform kit.

`python -m unspread.demo.platform --data DIR --port N --clearinghouse URL`, started by
`unspread demo`. The board and the kit talk as any platform and its kit do: uploads go to
`POST /scan` over HTTP, take-downs come back as signed webhooks.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
import uvicorn

from unspread.demo import board
from unspread.platform_kit import app as kit_app
from unspread.platform_kit.actions.receive import received
from unspread.platform_kit.enrolment import follow_at
from unspread.platform_kit.settings import Settings

SECRET_FILE: Final = "keys/webhook.secret"  # noqa: S105 - a file's name
FIRST_KEY_FILE: Final = "keys/first.key"
LIST_NAME: Final = "unspread"
POLICY: Final = {LIST_NAME: {"actions": {"unverified": "refuse"}}}
"""A platform of real people would hold unverified matches for somebody to look at."""


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path))
@click.option("--port", required=True, type=int)
@click.option("--clearinghouse", "clearinghouse_url", required=True)
def serve(data: Path, port: int, clearinghouse_url: str) -> None:
    """Serve the sample board with the platform kit behind it, until stopped."""
    own_url = f"http://127.0.0.1:{port}"
    webhook = {"url": f"{own_url}/board/unspread", "secret_file": SECRET_FILE}
    settings = Settings.load(data, port=port, lists=POLICY, webhook=webhook)
    # The demo may be started at another port than the last time.
    follow_at(data, LIST_NAME, clearinghouse_url)
    kit = kit_app.create_app(settings)
    # The kit makes its first key when it is created; the board is its first caller.
    key = (data / FIRST_KEY_FILE).read_text().strip()

    def verified(body: bytes, headers: Mapping[str, str]) -> dict[str, object]:
        secret = (data / SECRET_FILE).read_text()
        return received(body, headers, secret, int(time.time()))

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
