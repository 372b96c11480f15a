"""NCMEC's Reporting API: open a report, add a file, finish it. Blocking.

Nothing here decides to file; `filing` does, when a person says so. The test environment is the
default: its reports are discarded (https://report.cybertip.org/ispws/documentation).
"""

import hashlib
from enum import StrEnum
from typing import Final

import httpx
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from unspread.errors import InputError, StateError, TransportError

TIMEOUT_SECONDS: Final = 120.0

_Part = tuple[str | None, str | bytes]
"""One part of a multipart form: a file's name, or None for a field, and what it holds."""


class Environment(StrEnum):
    """Where reports go."""

    TEST = "https://exttest.cybertip.org/ispws"
    PRODUCTION = "https://report.cybertip.org/ispws"


class RefusedReportError(StateError):
    """NCMEC did not take it; the text has its code and its words."""


class CyberTipline:
    """One account at NCMEC."""

    def __init__(self, client: httpx.Client, address: str, user: str, password: str) -> None:
        """`address`: an `Environment`; the client is the caller's to close."""
        self._client = client
        self._address = address.rstrip("/")
        self._auth = httpx.BasicAuth(user, password)

    def open(self, document: bytes) -> str:
        """Open a report; its id. It is deleted by NCMEC if it is not finished within a day."""
        return self._field(self._xml("/submit", document), "reportId")

    def add_file(self, report_id: str, content: bytes) -> str:
        """Add a file to an open report; its id.

        Raises:
            RefusedReportError: also if NCMEC's digest of it is not ours.
        """
        file: _Part = ("file", content)
        answer = self._call("/upload", files={**_form(report_id), "file": file})
        digest = answer.get("hash", "")
        ours = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if digest and digest.lower() != ours:
            raise RefusedReportError("the file arrived changed")
        return self._field(answer, "fileId")

    def describe_file(self, document: bytes) -> None:
        """Add what is known about a file."""
        self._xml("/fileinfo", document)

    def finish(self, report_id: str) -> None:
        """Finish a report. This cannot be undone, and nothing can be added after it."""
        self._call("/finish", files=_form(report_id))

    def retract(self, report_id: str) -> None:
        """Take back a report that is not finished."""
        self._call("/retract", files=_form(report_id))

    def _xml(self, path: str, document: bytes) -> dict[str, str]:
        headers = {"content-type": "text/xml; charset=utf-8"}
        return self._call(path, content=document, headers=headers)

    def _call(
        self,
        path: str,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        files: dict[str, _Part] | None = None,
    ) -> dict[str, str]:
        try:
            response = self._client.post(
                self._address + path,
                content=content,
                headers=headers,
                files=files,
                auth=self._auth,
                timeout=TIMEOUT_SECONDS,
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            raise TransportError(f"NCMEC cannot be reached ({type(error).__name__})") from None
        if response.status_code in {401, 403}:
            raise RefusedReportError("NCMEC does not know these credentials, here")
        fields = _fields(response.content)
        code = fields.get("responseCode", "")
        if code != "0":
            words = fields.get("responseDescription", f"HTTP {response.status_code}")[:200]
            # NCMEC asks for it when it is asked for help (documentation, section 7.5).
            request_id = response.headers.get("request-id", "")[:64]
            asked = f" (Request-ID {request_id})" if request_id else ""
            raise RefusedReportError(f"NCMEC answered {code or 'nothing'}: {words}{asked}")
        return fields

    def _field(self, fields: dict[str, str], name: str) -> str:
        if not fields.get(name):
            raise RefusedReportError(f"NCMEC's answer has no {name}")
        return fields[name]


def _form(report_id: str) -> dict[str, _Part]:
    """A report's id as a field of a multipart form, as `curl --form` sends it."""
    return {"id": (None, report_id)}


def _fields(content: bytes) -> dict[str, str]:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        raise TransportError("NCMEC did not answer in XML") from None
    return {each.tag: (each.text or "").strip() for each in root}


def credentials(text: str) -> tuple[str, str]:
    """User and password from a file of two lines.

    Raises:
        InputError: if it is something else.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 2:
        raise InputError("the file with NCMEC's credentials has two lines: user and password")
    return lines[0], lines[1]
