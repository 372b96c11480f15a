"""The command line for those who run the kit: dead actions, reviewers, the record of notices."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.platform_kit.notices.test_record import full
from tests.unit.platform_kit.notices.test_rules import HOSTS
from tests.unit.platform_kit.outbox import Outbox
from unspread.errors import TrustError
from unspread.platform_kit.commands import platform
from unspread.platform_kit.notices.record import Record
from unspread.platform_kit.review.signin import SignIn


def run(*arguments: str, stdin: str = "") -> str:
    done = CliRunner().invoke(platform, arguments, input=stdin, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_dead_actions_are_listed_and_tried_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    action = outbox.find("post/1")
    outbox.store.action_failed(action.action_id, outbox.now, None, "answered 500")
    listed = run("actions", "dead", "--data", str(tmp_path))
    assert listed == f"{action.action_id}\tremove\tpost/1\tanswered 500\n"
    assert run("actions", "retry", "--all", "--data", str(tmp_path)) == "1 to be tried again\n"
    assert outbox.store.dead_actions() == ()
    outbox.store.close()


def test_an_invitation_from_the_command_line_opens_the_door(tmp_path: Path) -> None:
    invitation = run("reviewer", "invite", "Ann", "--role", "lead", "--data", str(tmp_path))
    outbox = Outbox(tmp_path)
    sign_in = SignIn(outbox.store, "http://localhost", lambda: datetime.now(UTC))
    assert sign_in.registration(invitation.strip())["user"]["name"] == "Ann"
    outbox.store.close()
    assert run("reviewer", "list", "--data", str(tmp_path)) == ""


def test_the_record_is_exported_and_checked(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    lines = full(Record(outbox.store, HOSTS, 5), outbox)
    outbox.store.close()
    exported = run("notices", "export", "--data", str(tmp_path))
    assert exported.splitlines() == lines
    assert len(run("notices", "check", "-", stdin=exported).strip()) == 64
    with pytest.raises(TrustError):
        run("notices", "check", "-", stdin=exported.replace("Ann", "Bob"))
