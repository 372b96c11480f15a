"""Settings are read once and refused when in doubt."""

import ast
from pathlib import Path

import pytest

from tests import settings_page
from unspread.platform_kit import settings as module
from unspread.platform_kit.settings import Settings, SettingsError


def load(directory: Path, text: str, **overrides: object) -> Settings:
    (directory / "platform.toml").write_text(text)
    return Settings.load(directory, **overrides)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    settings = load(tmp_path, "port = 9000\nscan_workers = 3\n", port=9001, host=None)
    assert (settings.port, settings.scan_workers, settings.host) == (9001, 3, "127.0.0.1")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("prot = 1", id="unknown name"),
        pytest.param('port = "8080"', id="wrong type"),
        pytest.param("port = 70000", id="out of range"),
        pytest.param("[lists.x]\nradius_bits = 65", id="radius too wide"),
        pytest.param("[lists.x]\nallow = true", id="a feed cannot allow"),
        pytest.param('[lists.x]\nsource = "ncmec"', id="no credentials"),
        pytest.param('[lists.x]\nurl = "https://x"', id="a feed's address comes with enrolment"),
        pytest.param("[lists.x.actions]\nunverified = 'delete'", id="unknown response"),
        pytest.param("[lists.'a b']\n", id="list name with a space"),
        pytest.param("port = ", id="not TOML"),
        pytest.param("unreadable = 'maybe'", id="unknown fallback"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(tmp_path, text):
    with pytest.raises(SettingsError):
        load(tmp_path, text)


def test_every_setting_says_what_it_does():
    tree = ast.parse(Path(module.__file__).read_text())
    silent = [
        f"{node.name}.{field.target.id}"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for field, after in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
        and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]
    assert silent == []


def test_the_page_about_settings_says_what_the_settings_say():
    # Else: python -m tests.settings_page
    assert settings_page.PAGE.read_text() == settings_page.page()
