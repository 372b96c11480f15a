"""`unspread verify-site` against a site that serves this package, and against others."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from click.testing import CliRunner

from tests.journeys.page_stand import Stand, page_stand
from unspread.errors import TransportError
from unspread.page_headers import headers_for
from unspread.person.verify_site import Difference, Package, differences, verify_site

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with page_stand(tmp_path_factory.mktemp("pages")) as stand:
        yield stand


def test_a_site_that_serves_this_package_is_found_the_same(stand: Stand) -> None:
    result = CliRunner().invoke(verify_site, [stand.url])
    assert result.exit_code == 0, result.output
    assert "are those of this package" in result.output


def test_what_is_in_the_package_is_more_than_the_first_page(stand: Stand) -> None:
    assert {"ui/begin.js", "fingerprint/worker.js", "vendor/mediabunny.js"} <= set(
        Package.installed().files
    )
    assert {"en", "ar", "pt-br", "zh-hans"} <= Package.installed().languages


class Altered(httpx.BaseTransport):
    """The real site behind something that changes one answer."""

    def __init__(
        self, path: str, change: Callable[[bytes], bytes], headers: dict[str, str]
    ) -> None:
        self.path, self.change, self.headers = path, change, headers
        self.real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.real.handle_request(request)
        content = response.read()
        kept = {name: value for name, value in response.headers.items() if name in KEPT}
        if request.url.path == self.path:
            kept |= self.headers
            content = self.change(content)
        kept = {name: value for name, value in kept.items() if value}
        return httpx.Response(response.status_code, headers=kept, content=content)


KEPT = {name.lower() for name in headers_for("/en/begin")} | {"content-type"}
BEGIN = headers_for("/en/begin")["Content-Security-Policy"]


def found_in(stand: Stand, altered: Altered, **others: frozenset[str]) -> list[Difference]:
    # A few languages, of each direction: each costs eight pages.
    package = replace(Package.installed(), **({"languages": frozenset({"en", "ar"})} | others))
    with httpx.Client(base_url=stand.url, transport=altered) as client:
        return list(differences(client, package))


def test_a_language_that_the_site_does_not_speak_of_is_looked_at_too(stand: Stand) -> None:
    altered = Altered("/de/now", after("<script>x()</script>"), {})
    (difference,) = found_in(stand, altered, languages=Package.installed().languages)
    assert difference.path == "/de/now"


def after(added: str) -> Callable[[bytes], bytes]:
    return lambda body: body.replace(b"</main>", added.encode() + b"</main>")


@pytest.mark.parametrize(
    ("path", "change", "part"),
    [
        pytest.param(
            "/page/ui/files.js", lambda body: body + b"// more", "is another file", id="a line more"
        ),
        pytest.param(
            "/en/begin",
            after('<script src="https://elsewhere.example/x.js"></script>'),
            '<script src="https://elsewhere.example/x.js">',
            id="a script from elsewhere",
        ),
        pytest.param(
            "/ar/begin",
            after('<script type="module" src="/page/ui/added.js"></script>'),
            "/page/ui/added.js",
            id="a file that was added, in another language",
        ),
        pytest.param("/fa/now", after("<script>fetch('/')</script>"), "fetch('/')", id="inline"),
        pytest.param(
            "/fa/how", after('<p onclick="x()">'), 'onclick="x()"', id="code of an element"
        ),
        pytest.param(
            "/en/", after('<img src="https://elsewhere.example/x.gif">'), "<img", id="a picture"
        ),
        pytest.param("/ar/safe", after("<style>p { }</style>"), "<style>", id="a style"),
        pytest.param(
            "/en/help", after('<iframe src="https://elsewhere.example/"></iframe>'), "<iframe",
            id="a frame",
        ),
        pytest.param(
            "/en/begin",
            lambda body: body.replace(b'action="/v1/cases"', b'action="https://elsewhere.example"'),
            'action="https://elsewhere.example"',
            id="a form to elsewhere",
        ),
        pytest.param(
            "/en/begin",
            lambda body: body.replace(b'id="files"', b'id="files" form="send" name="case"'),
            'name="case"',
            id="the file in the form",
        ),
        pytest.param(
            "/fa/begin",
            after('<a href="https://elsewhere.example/?x" ping="https://elsewhere.example">'),
            "ping=",
            id="a link that tells",
        ),
        pytest.param(
            "/en/status",
            lambda body: body.replace(b'data-log-key="', b'data-log-key="other'),
            "another key",
            id="the key of another log",
        ),
    ],
)  # fmt: skip
def test_an_altered_page_is_found_out(
    stand: Stand, path: str, change: Callable[[bytes], bytes], part: str
) -> None:
    found = found_in(stand, Altered(path, change, {}))
    assert {each.path for each in found} == {path}
    assert part in found[0].what


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        pytest.param(
            "/page/fingerprint/worker.js",
            "content-security-policy",
            "default-src 'none'; script-src 'self'; connect-src *",
            id="a worker that may connect",
        ),
        pytest.param(
            "/en/begin",
            "content-security-policy",
            BEGIN.replace("img-src 'self'", "img-src 'self' https:"),
            id="pictures from everywhere",
        ),
        pytest.param(
            "/ar/begin",
            "content-security-policy",
            BEGIN.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'"),
            id="inline scripts, in another language",
        ),
        pytest.param("/en/begin", "connection-allowlist", "", id="no allow list"),
        pytest.param("/en/begin", "connection-allowlist", "(*)", id="a wide allow list"),
        pytest.param("/en/letter", "referrer-policy", "unsafe-url", id="referrers"),
        pytest.param("/en/status", "cache-control", "public", id="a cache"),
        pytest.param("/leave", "content-security-policy", "", id="none where one leaves"),
        pytest.param("/en/now", "set-cookie", "a=b", id="a cookie"),
        pytest.param("/en/now", "refresh", "0;url=https://elsewhere.example", id="a refresh"),
        pytest.param("/en/begin", "report-to", "{}", id="reports to elsewhere"),
    ],
)
def test_an_altered_header_is_found_out(stand: Stand, path: str, name: str, value: str) -> None:
    (difference,) = found_in(stand, Altered(path, lambda body: body, {name: value}))
    assert difference.path == path
    assert name in difference.what.lower()


def test_a_page_that_is_missing_is_found_out(stand: Stand) -> None:
    with httpx.Client(base_url=stand.url) as client:
        package = Package.installed()
        more = replace(package, files={**package.files, "ui/more.js": b""})
        assert Difference("/page/ui/more.js", "answers 404") in list(differences(client, more))


def test_a_site_that_does_not_answer_is_said_to_be_so() -> None:
    with httpx.Client(base_url="http://127.0.0.1:9") as client, pytest.raises(TransportError):
        list(differences(client, Package.installed()))
