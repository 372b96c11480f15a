"""`unspread platform check` tells good from bad."""

from click.testing import CliRunner

from tests.unit.platform_kit.test_following import picture
from unspread.errors import StateError
from unspread.match import kernel_name
from unspread.platform_kit.checks import findings
from unspread.platform_kit.commands import platform as command
from unspread.platform_kit.settings import Settings


def bad(data) -> list[str]:
    return [each.text for each in findings(Settings.load(data)) if not each.is_good]


def test_a_directory_that_never_served_is_said_to_be_empty(tmp_path):
    assert len(bad(tmp_path)) == 1


def test_a_followed_list_is_good_and_a_stale_one_is_not(platform, clearinghouse, monkeypatch):
    clearinghouse.protect(picture(1))
    platform.sync()
    (platform.data / "platform.toml").write_text('[webhook]\nurl = "https://x.example/"\n')
    # What was fetched at the stand-in's time is long ago or ahead by the real clock.
    monkeypatch.setattr("unspread.platform_kit.checks.utc_now", platform.now)
    platform.close()
    assert bad(platform.data) == []

    monkeypatch.setattr(
        "unspread.platform_kit.checks.utc_now",
        lambda: platform.now().replace(year=platform.now().year + 1),
    )
    assert any("list unspread" in text for text in bad(platform.data))
    (platform.data / "lists" / "unspread.json").chmod(0o644)
    assert any("others can read" in text for text in bad(platform.data))


def test_the_command_ends_with_a_status_for_scripts(tmp_path):
    done = CliRunner().invoke(command, ["check", "--data", str(tmp_path)])
    assert "BAD" in done.output
    assert f"matching kernel: {kernel_name()}\n" in done.output
    assert isinstance(done.exception, StateError)


def test_the_audit_trail_is_printed_in_order_and_never_shows_a_key(tmp_path):
    run = CliRunner().invoke
    made = run(command, ["key", "add", "--data", str(tmp_path), "uploads", "--scope", "scan"])
    run(command, ["key", "revoke", "--data", str(tmp_path), "uploads"])

    lines = run(command, ["trail", "--data", str(tmp_path)]).output.splitlines()

    assert [line.split("\t")[3:] for line in lines] == [
        ["issue key", "uploads"],
        ["revoke key", "uploads"],
    ]
    assert made.output.startswith("uk_")
    assert made.output.strip() not in "\n".join(lines)
    assert "revoked" in run(command, ["key", "list", "--data", str(tmp_path)]).output
