"""The command line: joins the commands of every part and prints errors for people."""

import errno
import importlib
import os
import sys
from typing import Final

import click

from unspread.errors import InputError, StateError, TransportError, TrustError, UnspreadError

COMMANDS: Final = {
    "audit": ("unspread.feed.audit_command:audit", "Check a public log."),
    "check": ("unspread.check_command:check", "Say what this installation computes with."),
    "clearinghouse": ("unspread.clearinghouse.commands:clearinghouse", "Run a clearinghouse."),
    "compare": ("unspread.fingerprint.commands:compare", "Say how alike two files are."),
    "demo": ("unspread.demo.command:demo", "Try everything on this machine, in training mode."),
    "hash": ("unspread.fingerprint.commands:hash_files", "Fingerprint pictures and videos."),
    "platform": ("unspread.platform_kit.commands:platform", "Protect a platform."),
    "status": ("unspread.person.commands:status", "Say what became of a case."),
    "submit": ("unspread.person.commands:submit", "Send fingerprints to a clearinghouse."),
    "verify-site": ("unspread.person.verify_site:verify_site", "Compare a site with this package."),
    "withdraw": ("unspread.person.commands:withdraw", "Take items off the hash list."),
    "witness": ("unspread.transparency.witness_command:witness", "Witness somebody else's log."),
}
"""Name → where the command lives and its line of help; imported only when it is run."""

EXIT_STATUS: Final = {InputError: 2, StateError: 3, TrustError: 4, TransportError: 5}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "unspread":
                raise
            extra = "platform" if cmd_name == "platform" else "clearinghouse"
            extra = "demo" if cmd_name == "demo" else extra
            raise click.ClickException(
                f"this command needs more than is installed ({error.name} is missing): "
                f"pip install 'unspread[{extra}]'"
            ) from error
        command: click.Command = getattr(module, attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unspread")
def unspread() -> None:
    """Stop an intimate picture from spreading without anyone ever seeing it."""


def main() -> None:
    """Run the command line. Exit status: 2 input, 3 state, 4 trust, 5 transport."""
    try:
        unspread()
    except UnspreadError as error:
        click.echo(f"unspread: {error}", err=True)
        status = next(code for kind, code in EXIT_STATUS.items() if isinstance(error, kind))
        sys.exit(status)
    except OSError as error:
        # Where results go: nothing that whoever reads a traceback could mend.
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"unspread: {error.strerror}", err=True)
        # What could not be written would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_STATUS[StateError])
