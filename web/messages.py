"""Keep the catalogues in step with the templates: `python web/messages.py` after changing a text.

New texts are added to every django.po without a translation, those no longer used are dropped.
A text without a translation appears in English.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from babel.messages.pofile import read_po

PAGES: Final = Path(__file__).resolve().parent.parent / "src/unspread/clearinghouse/pages"
LOCALE: Final = PAGES / "locale"

Text: TypeAlias = str | tuple[str, str]
"""As gettext looks it up; (singular, plural) where a number meets a word."""

_TEXT: Final = re.compile(
    r'{%\s*translate\s+"(?P<plain>[^"]+)"\s*%}'
    r"|{%\s*blocktranslate[^%]*%}(?P<block>.*?){%\s*endblocktranslate\s*%}"
    r'|{%\s*plurals\s+"\w+"\s+"(?P<one>[^"]+)"\s+"(?P<many>[^"]+)"\s*%}',
    re.DOTALL,
)
_PLACE: Final = re.compile(r"{{\s*(\w+)\s*}}")
_OF_HELPLINES: Final = ("country", "about", "hours", "ages")


def texts() -> Iterator[tuple[Text, str]]:
    """(text, name of the file it stands in) of every text, in order."""
    for template in sorted((PAGES / "templates/pages").glob("*.html")):
        for found in _TEXT.finditer(template.read_text()):
            if found["one"]:
                yield (found["one"], found["many"]), template.name
            else:
                yield found["plain"] or _PLACE.sub(r"%(\1)s", found["block"]), template.name
    shipped = PAGES / "data/help.toml"
    for entry in tomllib.loads(shipped.read_text())["entry"]:
        for name in _OF_HELPLINES:
            if entry.get(name):
                yield entry[name], shipped.name


def translations_of(path: Path) -> dict[Text, Text]:
    """Text → its translation, or translations in the order of the language's plural forms."""
    with path.open("rb") as source:
        return {each.id: each.string for each in read_po(source) if each.id}


def forms_of(path: Path) -> int:
    """How many plural forms the language of a catalogue has."""
    with path.open("rb") as source:
        return read_po(source).num_plurals


def written(header: str, forms: int, translations: Mapping[Text, Text]) -> str:
    """A catalogue of exactly the texts that there are now, without dates: same in, same out."""
    places: dict[Text, list[str]] = {}
    for text, file in texts():
        places.setdefault(text, []).append(file)
    entries = []
    for text, files in places.items():
        lines = [f"#: {' '.join(dict.fromkeys(files))}"]
        if isinstance(text, tuple):
            all_forms = translations.get(text) or ("",) * forms
            lines += [f"msgid {_quoted(text[0])}", f"msgid_plural {_quoted(text[1])}"]
            lines += [f"msgstr[{at}] {_quoted(each)}" for at, each in enumerate(all_forms)]
        else:
            lines += ["#, python-format"] if "%(" in text else []
            lines += [
                f"msgid {_quoted(text)}",
                f"msgstr {_quoted(str(translations.get(text, '')))}",
            ]
        entries.append("\n".join(lines) + "\n")
    return "\n".join([header, *entries])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def main() -> None:
    """Rewrite every catalogue."""
    for path in sorted(LOCALE.glob("*/LC_MESSAGES/django.po")):
        header = path.read_text().partition("\n\n")[0] + "\n"
        old = translations_of(path)
        path.write_text(written(header, forms_of(path), old))
        missing = {text for text, _ in texts() if not all(old.get(text) or [""])}
        print(f"{path.parts[-3]}: {len(missing)} texts are not translated")


if __name__ == "__main__":
    main()
