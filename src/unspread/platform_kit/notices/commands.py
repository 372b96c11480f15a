"""`unspread platform notices …`: the record, for a regulator or a court."""

from pathlib import Path
from typing import TextIO

import click


@click.group()
def notices() -> None:
    """The record of notices."""


@notices.command("export")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="Directory of this installation's state and keys.",
)
def export(data: Path) -> None:
    """Write the whole record to standard output: JSON lines, each sealed to the one before."""
    from unspread.platform_kit.notices.record import Record
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        for line in Record(store, frozenset(), per_minute=1).export():
            click.echo(line)
    finally:
        store.close()


@notices.command("check")
@click.argument("file", type=click.File(encoding="utf-8"))
def check(file: TextIO) -> None:
    """Check an export: that no line was changed, removed or added. Prints its last seal."""
    from unspread.platform_kit.notices.record import check_export

    click.echo(check_export(line.rstrip("\n") for line in file))
