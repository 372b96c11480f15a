"""`unspread platform actions …`: what could not be carried out, and trying it again."""

from datetime import UTC, datetime
from pathlib import Path

import click

_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="Directory of this installation's state and keys.",
)


@click.group()
def actions() -> None:
    """See and repeat what could not be carried out."""


@actions.command("dead")
@_DATA
def dead(data: Path) -> None:
    """List actions that were given up: id, action, reference, why."""
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        for each in store.dead_actions():
            click.echo(f"{each.action_id}\t{each.action}\t{each.reference}\t{each.error}")
    finally:
        store.close()


@actions.command("retry")
@_DATA
@click.argument("action_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that were given up.")
def retry(data: Path, action_ids: tuple[str, ...], *, everything: bool) -> None:
    """Try actions again that were given up; a running kit takes them up by itself."""
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        chosen = [each.action_id for each in store.dead_actions()] if everything else action_ids
        for action_id in chosen:
            store.action_retry(action_id, datetime.now(UTC))
        click.echo(f"{len(chosen)} to be tried again")
    finally:
        store.close()
