"""What is shipped for running the programs names commands and options that exist."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from unspread.cli import unspread

DEPLOY = Path(__file__).parents[2] / "deploy"


def invocations() -> list[tuple[str, list[str]]]:
    """Each call of the command line in the folder: where it stands, its words."""
    found = []
    for path in sorted(DEPLOY.rglob("*")):
        if not path.is_file() or path.suffix in {".js", ".php", ".py", ".json"}:
            continue
        text = path.read_text()
        where = str(path.relative_to(DEPLOY))
        started = re.findall(r"^ExecStart=\S*/unspread (.+)$", text, re.MULTILINE)
        found += [(where, shlex.split(line)) for line in started]
        entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
        if entry:
            command = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)
            found.append((where, json.loads(entry[1])[1:] + json.loads(command[1])))
        if path.name == "compose.yaml" and "\n    command:\n" in text:
            words = re.findall(r"^      - (\S+)$", text, re.MULTILINE)
            found.append((where, [path.parent.name, *words]))
    return found


@pytest.mark.parametrize(("where", "words"), invocations())
def test_every_command_and_option_exists(where, words):
    command: click.Command = unspread
    context = click.Context(command)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None, where
    known = {name for each in command.params for name in each.opts}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given, where
    assert given <= known, where
