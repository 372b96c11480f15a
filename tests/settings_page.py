"""Writes docs/platform/settings.md from the settings: `python -m tests.settings_page`."""

import ast
from itertools import pairwise
from pathlib import Path

from unspread.platform_kit import settings

PAGE = Path(__file__).parents[1] / "docs" / "platform" / "settings.md"
SECTIONS = {
    "Settings": ("platform.toml", "At the top of the file."),
    "ListSettings": ("[lists.NAME]", "One list; see [lists.md](lists.md)."),
    "LevelResponses": ("[lists.NAME.actions]", "By how far the listing is corroborated."),
    "Webhook": ("[webhook]", "See [actions.md](actions.md) for more places."),
}
_LEFT_OUT = {"data", "lists", "actions", "review", "webhook", "notices", "hooks"}


def page() -> str:
    """The page as it should be."""
    lines = [
        "# Settings",
        "",
        "`DATA/platform.toml`, or the file that `--settings` names; flags win. A name that is not",
        "listed here is an error. Written from `unspread.platform_kit.settings`.",
    ]
    tree = ast.parse(Path(settings.__file__).read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for name, (title, text) in SECTIONS.items():
        lines += ["", f"## `{title}`", "", text, "", "| Name | Default | |", "| --- | --- | --- |"]
        body = classes[name].body
        for field, after in pairwise(body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if name == "Settings" and field.target.id in _LEFT_OUT:
                continue
            if name == "ListSettings" and field.target.id == "actions":
                continue
            default = "needed" if field.value is None else _shown(field.value)
            said = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            lines.append(f"| `{field.target.id}` | {default} | {' '.join(said.split())} |")
    return "\n".join(lines) + "\n"


def _shown(value: ast.expr) -> str:
    if isinstance(value, ast.Call) or (isinstance(value, ast.Constant) and value.value is None):
        return "its own section"
    if isinstance(value, ast.Attribute):
        return f'`"{value.attr.lower()}"`'
    if isinstance(value, ast.Name):
        return f"`{getattr(settings, value.id)}`"
    if isinstance(value, ast.BinOp):
        return f"`{eval(compile(ast.Expression(value), '', 'eval'))}`"  # noqa: S307 - our own source
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return f"`{str(value.value).lower()}`"
    text = ast.unparse(value)
    return f"`{text}`".replace("''", '""').replace("'", '"').replace("()", "[]")


if __name__ == "__main__":
    PAGE.write_text(page())
