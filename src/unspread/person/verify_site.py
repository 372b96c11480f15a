"""Compare what a site serves with the page in this package: a sceptic's tool.

A site could serve other scripts to one person than to another; whoever runs this from their own
connection, with a package from PyPI whose digests are public, sees what it serves to them.

Scripts and styles must be those of the package, byte for byte; the headers of every response those
that the package sets; and each page, in every language, may hold no element that its template does
not have, so that nothing else runs, loads or sends. The words between are not compared: an
organisation has its own, and whoever asks can read them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.resources import files as package_files
from importlib.resources.abc import Traversable
from typing import Final

import click
import httpx

from unspread.case_protocol import About, decode
from unspread.errors import InputError, StateError, TransportError, TrustError
from unspread.page_headers import headers_for

TIMEOUT_SECONDS: Final = 30.0

PAGES: Final = {
    "": "start",
    "begin": "begin",
    "help": "help",
    "how": "how",
    "letter": "letter",
    "now": "now",
    "safe": "safe",
    "status": "status",
}
"""Name in the address, below the language → its template."""

LIKE_A_BROWSER: Final = {
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "user-agent": "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0",
}
"""A site that lies would not lie to a program that says what it is for."""

NEVER_SENT: Final = frozenset(
    {"link", "nel", "refresh", "report-to", "reporting-endpoints", "set-cookie"}
)
"""Headers that load, navigate, report or remember."""

_INERT: Final = re.compile(r"id|class|lang|dir|title|hidden|tabindex|role|(data|aria)-[a-z-]+")
"""Attributes that neither load, nor send, nor run anything."""


class DifferentSiteError(TrustError):
    """The site serves something else than this package."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as in the package."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Package:
    """The page in an installation."""

    files: Mapping[str, bytes]
    """Path below /page/ → every script and style."""
    templates: Mapping[str, str]
    """Name → text of every page's template, in Django's language."""
    languages: frozenset[str]
    """Codes, as in addresses."""

    @classmethod
    def installed(cls) -> "Package":
        """That of this one.

        Raises:
            StateError: if the page was never built here.
        """
        # By its place in the package, not by import: the two programs never import each other.
        root = package_files("unspread") / "clearinghouse" / "pages"
        files = dict(_files(root / "static"))
        if not files:
            raise StateError("this installation has no page to compare with: run `make web`")
        templates = {
            name.removesuffix(".html"): body.decode()
            for name, body in _files(root / "templates" / "pages")
        }
        names = {name.partition("/")[0] for name, _ in _files(root / "locale")}
        languages = {name.replace("_", "-").lower() for name in names}
        return cls(files, templates, frozenset({"en"} | languages))

    def elements(self, name: str) -> "Elements":
        """All that the page made from template `name` may hold."""
        found, waiting = Elements(), [name]
        for each in waiting:
            used = re.findall(r'{% (?:extends|include) "pages/(\w+)\.html"', self.templates[each])
            waiting += [other for other in used if other not in waiting]
            found.found += Elements.of_template(self.templates[each]).found
        return found


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for each in sorted(folder.iterdir(), key=lambda one: one.name) if folder.is_dir() else ():
        if each.is_dir():
            yield from _files(each, f"{prefix}{each.name}/")
        else:
            yield f"{prefix}{each.name}", each.read_bytes()


_Attributes = Mapping[str, str]


class Elements(HTMLParser):
    """The elements of a page, each with what it may load, send or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, _Attributes]] = []
        self.inline: list[str] = []
        """Text of scripts and styles."""

    @classmethod
    def of(cls, page: str) -> "Elements":
        """Those of a page as it is served."""
        elements = cls()
        elements.feed(page)
        elements.close()
        return elements

    @classmethod
    def of_template(cls, template: str) -> "Elements":
        """Those of a template: a language's code stands for a short word, all else for any text."""
        template = re.sub(r"{%.*?%}", "", template)
        return cls.of(re.sub(r"{{ *(.*?) *}}", _stand_in, template))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Called for each text."""
        if self.cdata_elem and data.strip():
            self.inline.append(data)

    def foreign_to(self, template: "Elements") -> Iterator[str]:
        """Each element that `template` has no like of, as the page has it."""
        for tag, attributes in self.found:
            if not any(
                tag == other and _is_within(attributes, allowed)
                for other, allowed in template.found
            ):
                said = "".join(f' {name}="{value}"' for name, value in attributes.items())
                yield f"<{tag}{said}>"
        for text in self.inline:
            yield text.strip()


_SHORT, _ANY = "\ue000", "\ue001"


def _stand_in(found: re.Match[str]) -> str:
    return _SHORT if found[1] in {"language", "code"} else _ANY


def _is_within(attributes: _Attributes, allowed: _Attributes) -> bool:
    return all(
        _INERT.fullmatch(name) or (name in allowed and _is_like(value, allowed[name]))
        for name, value in attributes.items()
    )


def _is_like(value: str, allowed: str) -> bool:
    pattern = re.escape(allowed).replace(_SHORT, "[a-z-]+").replace(_ANY, ".*")
    return re.fullmatch(pattern, value) is not None


def differences(client: httpx.Client, package: Package) -> Iterator[Difference]:
    """What the site at the client's base address serves differently.

    Raises:
        TransportError: if the site does not answer, or is no clearinghouse.
    """
    about = _about(client)
    for name, body in package.files.items():
        path = f"/page/{name}"
        response = _get(client, path)
        yield from _response_differences(path, response)
        if response.is_success and response.content != body:
            yield Difference(path, "is another file")
    # Also those that the site does not speak of: it may show them to one person.
    for language in sorted({*about.languages, *package.languages}):
        for name, template in PAGES.items():
            path = f"/{language}/{name}"
            response = _get(client, path)
            if response.status_code == 404 and language not in about.languages:
                continue
            yield from _response_differences(path, response)
            for each in Elements.of(response.text).foreign_to(package.elements(template)):
                yield Difference(path, f"holds what its template does not: {each[:200]}")
            # Whoever serves another key to one person can show that person a log of their own.
            if name == "status" and f'data-log-key="{about.log_key}"' not in response.text:
                yield Difference(path, "checks the public log with another key than /v1/about says")
    yield from _response_differences("/leave", _get(client, "/leave"))


def _response_differences(path: str, response: httpx.Response) -> Iterator[Difference]:
    if response.status_code != 200:
        yield Difference(path, f"answers {response.status_code}")
    for name, value in headers_for(path).items():
        sent = response.headers.get(name)
        if sent != value:
            yield Difference(path, f"sends {name}: {sent}" if sent else f"sends no {name}")
    for name in sorted(NEVER_SENT & set(response.headers)):
        yield Difference(path, f"sends {name}: {response.headers[name]}")


def _about(client: httpx.Client) -> About:
    try:
        return decode(_get(client, "/v1/about").content, About)
    except InputError as error:
        raise TransportError("this is not the address of a clearinghouse") from error


def _get(client: httpx.Client, path: str) -> httpx.Response:
    try:
        return client.get(path)
    except httpx.HTTPError as error:
        raise TransportError(f"the site does not answer: {error}") from error


@click.command()
@click.argument("url")
def verify_site(url: str) -> None:
    """Compare the page that URL serves with the one in this package.

    Every script and style, byte for byte; the headers of every response; and, in every language,
    that no page holds an element that could run, load or send anything else. Not the words.
    """
    package = Package.installed()
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers=LIKE_A_BROWSER) as client:
        found = list(differences(client, package))
    for each in found:
        click.echo(f"{each.path} {each.what}")
    if found:
        raise DifferentSiteError(f"{len(found)} differences: this site is not what the package is")
    click.echo(
        f"{len(package.files)} files, and {len(PAGES)} pages in every language with their headers, "
        "are those of this package."
    )
