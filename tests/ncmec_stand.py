"""A stand-in for NCMEC's Reporting API, over HTTP, as its documentation has it.

https://exttest.cybertip.org/ispws/documentation, sections 2 to 7, as saved on 2025-11-04 in
github.com/usips/xf2-ncmec: Basic authentication; `text/xml` at /submit and /fileinfo, checked
against the schema; multipart forms elsewhere; the answers of its examples. Codes are those that the
open clients know: 4100 for what the schema refuses, 5001 and 5002 for what is not there, 5101 and
5102 for what is over.
"""

import hashlib
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from lxml import etree

USER, PASSWORD = "usr123", "pswd123"
SCHEMA: Final = etree.XMLSchema(
    etree.parse(Path(__file__).parent / "unit/platform_kit/cybertip/ispws.xsd")
)


class RefusedError(Exception):
    """What is answered instead, by its code."""


@dataclass
class Report:
    """One report, as NCMEC would have it."""

    document: etree._Element
    files: dict[str, bytes] = field(default_factory=dict)
    details: dict[str, etree._Element] = field(default_factory=dict)
    state: str = "open"


@dataclass
class Ncmec:
    """What was sent."""

    address: str = ""
    reports: dict[str, Report] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: dict[str, str] = field(default_factory=dict)
    """Code to answer at a path, whatever comes."""

    def answer(self, path: str, kind: str, body: bytes) -> str:
        self.asked.append(path)
        if path in self.fails:
            raise RefusedError(self.fails[path])
        if path == "/submit":
            report_id = str(4564654 + len(self.reports))
            self.reports[report_id] = Report(_document(kind, body, "report"))
            return _response(report_id)
        if path == "/fileinfo":
            details = _document(kind, body, "fileDetails")
            report_id = details.findtext("reportId", "")
            report = self._open(report_id)
            file_id = details.findtext("fileId", "")
            if file_id not in report.files or file_id in report.details:
                raise RefusedError("5002")
            report.details[file_id] = details
            return _response(report_id)
        parts = _form(kind, body)
        report_id = parts["id"].decode()
        report = self._open(report_id)
        if path == "/upload":
            file_id = hashlib.md5(b"id" + parts["file"], usedforsecurity=False).hexdigest()
            report.files[file_id] = parts["file"]
            digest = hashlib.md5(parts["file"], usedforsecurity=False).hexdigest()
            return _response(report_id, f"<fileId>{file_id}</fileId><hash>{digest}</hash>")
        if path == "/retract":
            report.state = "retracted"
            return _response(report_id)
        if path == "/finish":
            report.state = "finished"
            files = "".join(f"<fileId>{each}</fileId>" for each in report.files)
            return (
                "<reportDoneResponse><responseCode>0</responseCode>"
                f"<reportId>{report_id}</reportId><files>{files}</files></reportDoneResponse>"
            )
        raise RefusedError("1000")

    def _open(self, report_id: str) -> Report:
        if report_id not in self.reports:
            raise RefusedError("5001")
        report = self.reports[report_id]
        if report.state != "open":
            raise RefusedError({"retracted": "5101", "finished": "5102"}[report.state])
        return report


def _document(kind: str, body: bytes, root: str) -> etree._Element:
    if kind != "text/xml; charset=utf-8":
        raise RefusedError("4000")
    try:
        document = etree.fromstring(body)
    except etree.XMLSyntaxError:
        raise RefusedError("4110") from None
    if document.tag != root or not SCHEMA.validate(document):
        raise RefusedError("4100")
    return document


def _form(kind: str, body: bytes) -> dict[str, bytes]:
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=HTTP)
    if message.get_content_type() != "multipart/form-data":
        raise RefusedError("4000")
    found = {}
    for part in message.iter_parts():
        name = part["content-disposition"].params["name"]
        found[name] = part.get_payload(decode=True)
    return found


def _response(report_id: str, more: str = "") -> str:
    return (
        "<reportResponse><responseCode>0</responseCode>"
        "<responseDescription>Success</responseDescription>"
        f"<reportId>{report_id}</reportId>{more}</reportResponse>"
    )


@contextmanager
def running() -> Iterator[Ncmec]:
    """The stand-in on this machine."""
    ncmec = Ncmec()
    known = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["authorization"] != known:
                self.send(401, "")
                return
            path = self.path.removeprefix("/ispws")
            try:
                text = ncmec.answer(path, self.headers["content-type"], body)
            except RefusedError as refusal:
                text = (
                    f"<reportResponse><responseCode>{refusal}</responseCode>"
                    "<responseDescription>refused</responseDescription></reportResponse>"
                )
            self.send(200, '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>' + text)

        def send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/xml;charset=ISO-8859-1")
            self.send_header("content-length", str(len(text)))
            self.send_header("request-id", f"request-{len(ncmec.asked)}")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        ncmec.address = f"http://127.0.0.1:{server.server_port}/ispws"
        yield ncmec
        server.shutdown()
        thread.join()
