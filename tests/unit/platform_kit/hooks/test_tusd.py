"""tusd's pre-finish hook: what matches is refused and then deleted through tusd."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.platform_kit.hooks.conftest import HARMLESS, PROTECTED, Hooked, picture
from unspread.platform_kit.hooks.settings import TusdSettings
from unspread.platform_kit.hooks.tusd import Tusd

UPLOAD = "24e533e02ec3bc40c387f1a0e460e216"


def hook(kind: str = "pre-finish", **storage: str) -> dict[str, Any]:
    """As https://tus.github.io/tusd/advanced-topics/hooks/ shows it."""
    return {
        "Type": kind,
        "Event": {
            "Upload": {
                "ID": UPLOAD,
                "Size": 46205,
                "SizeIsDeferred": False,
                "Offset": 46205,
                "MetaData": {"filename": "a picture.png"},
                "IsPartial": False,
                "IsFinal": False,
                "PartialUploads": None,
                "Storage": {"Type": "filestore", "Path": f"/srv/tusd-data/data/{UPLOAD}"} | storage,
            },
            "HTTPRequest": {"Method": "PATCH", "URI": f"/files/{UPLOAD}", "Header": {}},
        },
    }


class Stand:
    """A tusd with one upload in its store."""

    def __init__(self, hooked: Callable[..., Hooked], store: Path, content: bytes) -> None:
        store.mkdir(parents=True)
        (store / UPLOAD).write_bytes(content)
        self.settings = TusdSettings(url="http://tusd/files/", store=str(store))
        self.kit = hooked(tusd=self.settings)
        self.deleted: list[str] = []
        self.locked = 1

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["tus-resumable"] == "1.0.0"
        if self.locked:
            self.locked -= 1
            return httpx.Response(423)
        self.deleted.append(str(request.url))
        return httpx.Response(204)

    def call(self, body: object, key: str | None = None) -> httpx.Response:
        request = {
            "method": "POST",
            "url": "/hooks/tusd",
            "json": body,
            "headers": {"authorization": f"Bearer {key or self.kit.key}"},
        }
        (answered,) = self.kit.asked(
            lambda client: Tusd(self.kit.kit, self.settings, client).routes(),
            request,
            outside=self.answer,
        )
        return answered


def test_a_protected_picture_is_refused_and_deleted_once_tusd_lets_go(
    hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    stand = Stand(hooked, tmp_path / "tusd", picture(PROTECTED))
    said = stand.call(hook()).json()["HTTPResponse"]
    assert said["StatusCode"] == 406
    assert json.loads(said["Body"])["decision"] == "refuse"
    assert stand.deleted == [f"http://tusd/files/{UPLOAD}"]


def test_another_picture_is_finished_and_remembered(
    hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    stand = Stand(hooked, tmp_path / "tusd", picture(HARMLESS))
    assert stand.call(hook()).json() == {}
    assert stand.deleted == []
    assert stand.kit.kit.catalogue.probes_of(f"tusd/{UPLOAD}")


def test_what_could_not_be_checked_is_refused_and_kept(
    hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    stand = Stand(hooked, tmp_path / "tusd", picture(HARMLESS))
    stand.kit.kit.loaded = False
    assert stand.call(hook()).json()["HTTPResponse"]["StatusCode"] == 503
    assert stand.deleted == []


@pytest.mark.parametrize("kind", ["pre-create", "post-finish", "post-terminate"])
def test_other_hooks_are_none_of_its_business(
    hooked: Callable[..., Hooked], tmp_path: Path, kind: str
) -> None:
    stand = Stand(hooked, tmp_path / "tusd", picture(PROTECTED))
    assert stand.call(hook(kind)).json() == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret", "/srv/tusd-data/missing"])
def test_nothing_outside_the_store_is_read(
    hooked: Callable[..., Hooked], tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret").write_bytes(picture(PROTECTED))
    stand = Stand(hooked, tmp_path / "tusd", picture(HARMLESS))
    assert stand.call(hook(Path=path)).status_code == 503


@pytest.mark.parametrize("body", [[], {}, {"Type": "pre-finish"}, "x"])
def test_what_is_no_hook_is_refused(
    hooked: Callable[..., Hooked], tmp_path: Path, body: object
) -> None:
    stand = Stand(hooked, tmp_path / "tusd", picture(HARMLESS))
    assert stand.call(body).status_code == 400
    assert stand.call(hook(), key="another").status_code == 401
