"""Writes docs/platform/settings.md from the settings: `python -m tests.settings_page`."""

import ast
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from unspread.platform_kit import settings
from unspread.platform_kit.cybertip import settings as cybertip
from unspread.platform_kit.hooks import settings as hooks
from unspread.platform_kit.notices import settings as notices
from unspread.platform_kit.review import rules as review

PAGE = Path(__file__).parents[1] / "docs" / "platform" / "settings.md"
SECTIONS = (
    (settings, "Settings", "platform.toml", "At the top of the file."),
    (settings, "ListSettings", "[lists.NAME]", "One list; see [lists.md](lists.md)."),
    (settings, "LevelResponses", "[lists.NAME.actions]", "By how far the listing is corroborated."),
    (
        settings,
        "Webhook",
        "[webhook]",
        "See [actions.md](actions.md) for `[[actions]]`: more places.",
    ),
    (review, "ReviewSettings", "[review]", "See [review.md](review.md)."),
    (notices, "NoticeSettings", "[notices]", "See [notices.md](notices.md)."),
    (cybertip, "CyberTipSettings", "[cybertip]", "See [cybertip.md](cybertip.md)."),
    (hooks, "HmaSettings", "[hma]", "See [hma-callers.md](hma-callers.md)."),
    (hooks, "TusdSettings", "[tusd]", "See [tusd.md](tusd.md)."),
    (hooks, "MastodonSettings", "[mastodon]", "See [mastodon.md](mastodon.md)."),
)
_LEFT_OUT = {
    *("data", "lists", "actions", "review", "webhook", "notices"),
    *("cybertip", "hma", "tusd", "mastodon"),
}


def page() -> str:
    """The page as it should be."""
    lines = [
        "# Settings",
        "",
        "`DATA/platform.toml`, or the file that `--settings` names; flags win. A name that is not",
        "listed here is an error. Written from the settings' classes in `unspread.platform_kit`.",
    ]
    for module, name, title, text in SECTIONS:
        lines += ["", f"## `{title}`", "", text, "", "| Name | Default | |", "| --- | --- | --- |"]
        for field, after in pairwise(_class(module, name).body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if name == "Settings" and field.target.id in _LEFT_OUT:
                continue
            if name == "ListSettings" and field.target.id == "actions":
                continue
            default = "needed" if field.value is None else _shown(module, field.value)
            said = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            said = " ".join(said.split()).replace("|", "\\|")
            lines.append(f"| `{field.target.id}` | {default} | {said} |")
    return "\n".join(lines) + "\n"


def _class(module: ModuleType, name: str) -> ast.ClassDef:
    tree = ast.parse(Path(str(module.__file__)).read_text())
    return next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)


def _shown(module: ModuleType, value: ast.expr) -> str:
    if isinstance(value, ast.Call) or (isinstance(value, ast.Constant) and value.value is None):
        return "its own section"
    if isinstance(value, ast.Attribute):
        return f'`"{value.attr.lower()}"`'
    if isinstance(value, ast.Name):
        return f"`{getattr(module, value.id)}`"
    if isinstance(value, ast.BinOp):
        return f"`{eval(compile(ast.Expression(value), '', 'eval'))}`"  # noqa: S307 - our own source
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return f"`{str(value.value).lower()}`"
    text = ast.unparse(value)
    return f"`{text}`".replace("''", '""').replace("'", '"').replace("()", "[]")


if __name__ == "__main__":
    PAGE.write_text(page())
