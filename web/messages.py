"""Keep the catalogues in step with the templates: `python web/messages.py` after changing a text.

New texts are added to every django.po without a translation, those no longer used are dropped.
A text without a translation appears in English.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

PAGES: Final = Path(__file__).resolve().parent.parent / "src/unspread/clearinghouse/pages"
LOCALE: Final = PAGES / "locale"

_TEXT: Final = re.compile(
    r'{%\s*translate\s+"([^"]+)"\s*%}|{%\s*blocktranslate[^%]*%}(.*?){%\s*endblocktranslate\s*%}',
    re.DOTALL,
)
_PLACE: Final = re.compile(r"{{\s*(\w+)\s*}}")


def texts() -> Iterator[tuple[str, str]]:
    """(text as gettext looks it up, name of the template) of every text, in order."""
    for template in sorted((PAGES / "templates/pages").glob("*.html")):
        for plain, block in _TEXT.findall(template.read_text()):
            yield plain or _PLACE.sub(r"%(\1)s", block), template.name


def written(header: str, translations: dict[str, str]) -> str:
    """A catalogue of exactly the texts that there are now, without dates: same in, same out."""
    places: dict[str, list[str]] = {}
    for text, template in texts():
        places.setdefault(text, []).append(template)
    entries = [
        f"#: {' '.join(dict.fromkeys(templates))}\n"
        + ("#, python-format\n" if "%(" in text else "")
        + f"msgid {_quoted(text)}\nmsgstr {_quoted(translations.get(text, ''))}\n"
        for text, templates in places.items()
    ]
    return "\n".join([header, *entries])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def main() -> None:
    """Rewrite every catalogue."""
    for path in sorted(LOCALE.glob("*/LC_MESSAGES/django.po")):
        header = path.read_text().partition("\n\n")[0] + "\n"
        with path.open("rb") as source:
            old = {str(each.id): str(each.string) for each in read_po(source) if each.id}
        path.write_text(written(header, old))
        missing = [text for text, _ in texts() if not old.get(text)]
        print(f"{path.parts[-3]}: {len(set(missing))} texts are not translated")


if __name__ == "__main__":
    main()
