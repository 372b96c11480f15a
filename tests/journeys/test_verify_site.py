"""`unspread verify-site` against a site that serves this package, and against others."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from click.testing import CliRunner

from tests.journeys.page_stand import Stand, page_stand
from unspread.errors import TransportError
from unspread.person.verify_site import (
    Difference,
    differences,
    packaged_files,
    verify_site,
)

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
    assert {"ui/begin.js", "fingerprint/worker.js", "vendor/mediabunny.js"} <= set(packaged_files())


class Altered(httpx.BaseTransport):
    """The real site behind something that changes one answer."""

    def __init__(self, path: str, change: Callable[[bytes], bytes], policy: str | None) -> None:
        self.path, self.change, self.policy = path, change, policy
        self.real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.real.handle_request(request)
        if request.url.path != self.path:
            return response
        policy = response.headers["content-security-policy"] if self.policy is None else self.policy
        content = self.change(response.read())
        return httpx.Response(200, headers={"content-security-policy": policy}, content=content)


@pytest.mark.parametrize(
    ("path", "change", "policy", "found"),
    [
        pytest.param(
            "/page/ui/files.js",
            lambda body: body + b"// more",
            None,
            Difference("/page/ui/files.js", "is another file"),
            id="a script with a line more",
        ),
        pytest.param(
            "/page/fingerprint/worker.js",
            lambda body: body,
            "default-src 'none'; script-src 'self'; connect-src *",
            Difference(
                "/page/fingerprint/worker.js",
                "may connect: its Content-Security-Policy is not ours",
            ),
            id="a worker that may connect",
        ),
        pytest.param(
            "/en/begin",
            lambda body: body + b'<script src="https://elsewhere.example/x.js"></script>',
            None,
            Difference("/en/begin", "loads a script that is not in the package"),
            id="a script from elsewhere",
        ),
        pytest.param(
            "/en/begin",
            lambda body: body + b"<script>fetch('/')</script>",
            None,
            Difference("/en/begin", "loads a script that is not in the package"),
            id="an inline script",
        ),
        pytest.param(
            "/en/status",
            lambda body: body.replace(b'data-log-key="', b'data-log-key="other'),
            None,
            Difference("/en/status", "checks the public log with another key than /v1/about says"),
            id="the key of another log",
        ),
    ],
)
def test_an_altered_site_is_found_out(
    stand: Stand, path: str, change: Callable[[bytes], bytes], policy: str | None, found: Difference
) -> None:
    with httpx.Client(base_url=stand.url, transport=Altered(path, change, policy)) as client:
        assert found in list(differences(client, packaged_files()))


def test_a_site_that_does_not_answer_is_said_to_be_so() -> None:
    with httpx.Client(base_url="http://127.0.0.1:9") as client, pytest.raises(TransportError):
        list(differences(client, packaged_files()))
