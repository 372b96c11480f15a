"""Compare what a site serves with the page in this package: a sceptic's tool.

A site could serve other scripts to one person than to another; whoever runs this from their own
connection, with a package from PyPI whose digests are public, sees what it serves to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files as package_files
from typing import Final

import click
import httpx

from unspread.case_protocol import About, decode
from unspread.errors import InputError, StateError, TransportError, TrustError

TIMEOUT_SECONDS: Final = 30.0

_OURS: Final = (
    ("/en/begin", "connect-src 'none'"),
    ("/page/fingerprint/worker.js", "connect-src 'none'"),
    ("/page/fingerprint/worker_decoders.js", "connect-src 'none'"),
    ("/page/case/proof_worker.js", "connect-src 'none'"),
    ("/en/letter", "connect-src 'none'"),
    ("/en/status", "connect-src 'self'"),
)
"""Response → what its Content-Security-Policy must say."""


class DifferentSiteError(TrustError):
    """The site serves something else than this package."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as in the package."""

    path: str
    what: str


def differences(client: httpx.Client, files: dict[str, bytes]) -> Iterator[Difference]:
    """What the site at the client's base address serves differently.

    `files` is path → bytes of every script and style in the package.

    Raises:
        TransportError: if the site does not answer.
    """
    for name, body in files.items():
        response = _get(client, f"/page/{name}")
        if response.status_code != 200:
            yield Difference(f"/page/{name}", f"answers {response.status_code}")
        elif response.content != body:
            yield Difference(f"/page/{name}", "is another file")
    for path, needed in _OURS:
        policy = _get(client, path).headers.get("content-security-policy", "")
        if needed not in policy or not policy.startswith("default-src 'none'"):
            yield Difference(path, "may connect: its Content-Security-Policy is not ours")
    for path in ("/en/begin", "/en/status", "/en/letter"):
        for script in _scripts(_get(client, path).text):
            if script.removeprefix("/page/") not in files:
                yield Difference(path, "loads a script that is not in the package")
    # Whoever serves another key to one person can show that person a log of their own.
    log_key = _about(client).log_key
    if f'data-log-key="{log_key}"' not in _get(client, "/en/status").text:
        yield Difference("/en/status", "checks the public log with another key than /v1/about says")


def _about(client: httpx.Client) -> About:
    try:
        return decode(_get(client, "/v1/about").content, About)
    except InputError as error:
        raise TransportError("this is not the address of a clearinghouse") from error


def _scripts(page: str) -> Iterator[str]:
    """Sources of script elements; an inline one answers as an empty text."""
    for tag in page.split("<script")[1:]:
        head = tag.partition(">")[0]
        yield head.partition('src="')[2].partition('"')[0]


def _get(client: httpx.Client, path: str) -> httpx.Response:
    try:
        return client.get(path)
    except httpx.HTTPError as error:
        raise TransportError(f"the site does not answer: {error}") from error


def packaged_files() -> dict[str, bytes]:
    """Every script and style of the page in this installation.

    Raises:
        StateError: if the page was never built here.
    """
    # By its place in the package, not by import: the two programs never import each other.
    root = package_files("unspread") / "clearinghouse" / "pages" / "static"
    found: dict[str, bytes] = {}
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        for each in folder.iterdir() if folder.is_dir() else ():
            if each.is_dir():
                folders.append((f"{prefix}{each.name}/", each))
            else:
                found[f"{prefix}{each.name}"] = each.read_bytes()
    if not found:
        raise StateError("this installation has no page to compare with: run `make web`")
    return dict(sorted(found.items()))


@click.command()
@click.argument("url")
def verify_site(url: str) -> None:
    """Compare the page that URL serves with the one in this package, file by file."""
    files = packaged_files()
    headers = {"accept-encoding": "identity"}
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers=headers) as client:
        found = list(differences(client, files))
    for each in found:
        click.echo(f"{each.path} {each.what}")
    if found:
        raise DifferentSiteError(f"{len(found)} differences: this site is not what the package is")
    click.echo(f"{len(files)} files and {len(_OURS)} policies are those of this package.")
