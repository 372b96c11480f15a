"""`unspread platform reviewer …`: letting somebody in from the command line."""

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
def reviewer() -> None:
    """People who decide on what is held."""


@reviewer.command("invite")
@_DATA
@click.argument("name")
@click.option("--role", type=click.Choice(["reviewer", "lead"]), default="reviewer")
def invite(data: Path, name: str, role: str) -> None:
    """Print an invitation for NAME: it makes one passkey, within a week."""
    from unspread.platform_kit.review.signin import Role, SignIn
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        text = SignIn(store, "", lambda: datetime.now(UTC)).invite(name, Role(role))
        store.audit("command line", f"invited a {role}", "review", datetime.now(UTC))
        click.echo(text)
    finally:
        store.close()


@reviewer.command("list")
@_DATA
def list_reviewers(data: Path) -> None:
    """List everyone who may sign in."""
    from unspread.platform_kit.review.signin import SignIn
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        for each in SignIn(store, "", lambda: datetime.now(UTC)).reviewers():
            click.echo(f"{each.name}\t{each.role}")
    finally:
        store.close()
