"""`unspread platform s3-events`: a program of its own beside the kit."""

import importlib
import signal
import threading
from pathlib import Path
from typing import Any

import click

from unspread.errors import InputError


@click.command("s3-events")
@click.option("--queue", required=True, help="URL of the SQS queue on which objects are announced.")
@click.option("--kit", required=True, help="Address of the kit, http://127.0.0.1:8080.")
@click.option(
    "--key-file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with a key of the kit that may scan.",
)
@click.option("--quarantine", required=True, help="Bucket for what matches; nobody may read it.")
@click.option(
    "--unreadable",
    type=click.Choice(["keep", "quarantine"]),
    default="keep",
    show_default=True,
    help="What to do with objects that are neither pictures nor videos.",
)
@click.option("--region", help="AWS region; by default where AWS's own tools look for it.")
@click.option("--endpoint", help="Address of a store that speaks AWS's protocols.")
@click.option("--once", is_flag=True, help="Take what is there, then end.")
def s3_events(
    *,
    queue: str,
    kit: str,
    key_file: Path,
    quarantine: str,
    unreadable: str,
    region: str | None,
    endpoint: str | None,
    once: bool,
) -> None:
    """Scan new objects of a bucket, and move away what matches."""
    import httpx

    from unspread.platform_kit.hooks.s3_events import Consumer, S3Settings

    settings = S3Settings(
        queue, kit.rstrip("/"), key_file.read_text().strip(), quarantine, unreadable != "keep"
    )
    sqs, s3 = (_client(name, region, endpoint) for name in ("sqs", "s3"))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with httpx.Client(trust_env=False, timeout=120) as http:
        consumer = Consumer(settings, sqs, s3, http)
        if once:
            click.echo(f"{consumer.once()} messages")
        else:
            consumer.run(stop.is_set)


def _client(name: str, region: str | None, endpoint: str | None) -> Any:
    try:
        boto3 = importlib.import_module("boto3")
    except ModuleNotFoundError:
        raise InputError("this needs boto3: pip install 'unspread[aws]'") from None
    return boto3.client(name, region_name=region, endpoint_url=endpoint)
