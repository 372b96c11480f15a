"""A CyberTipline report as values, and its XML.

The form is that of NCMEC's Reporting API (https://report.cybertip.org/ispws/documentation), whose
schema fixes the order of elements: one out of order is answered 4100. Names, lengths and order are
those of its documentation and schema as saved in usips/xf2-ncmec on 2025-11-04, compared with three
open clients (Nachtalb/ncmec-cybertip 0.1.1, CyberTipline-Tools, Coop's ncmecService). Only what a
hash match gives rise to is built; the rest is typed into NCMEC's own page.

Facts, not advice: 18 USC 2258A has a provider report once it has actual knowledge of an apparent
violation. A match on a listing that nobody has looked at is a lead, not knowledge.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from xml.etree import ElementTree as ET

from unspread.errors import InputError, StateError

MAX_DETAIL: Final = 3000
MAX_URL: Final = 2083
MAX_NAME: Final = 100
MAX_EMAIL: Final = 255

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Outside XML 1.0's Char production; a serialiser writes them, and NCMEC answers 4110."""


class NotReportableError(StateError):
    """This may not be filed: nobody has looked, or nobody has decided."""


class IncidentType(StrEnum):
    """`incidentType`: eight fixed texts."""

    CHILD_PORNOGRAPHY = "Child Pornography (possession, manufacture, and distribution)"
    CHILD_SEX_TRAFFICKING = "Child Sex Trafficking"
    CHILD_SEX_TOURISM = "Child Sex Tourism"
    CHILD_SEXUAL_MOLESTATION = "Child Sexual Molestation"
    MISLEADING_DOMAIN_NAME = "Misleading Domain Name"
    MISLEADING_WORDS_OR_IMAGES = "Misleading Words or Digital Images on the Internet"
    ONLINE_ENTICEMENT = "Online Enticement of Children for Sexual Acts"
    UNSOLICITED_OBSCENE_MATERIAL = "Unsolicited Obscene Material Sent to a Child"


class Annotation(StrEnum):
    """`reportAnnotations`, in the order of the schema."""

    SEXTORTION = "sextortion"
    CSAM_SOLICITATION = "csamSolicitation"
    MINOR_TO_MINOR_INTERACTION = "minorToMinorInteraction"
    SPAM = "spam"
    SADISTIC_ONLINE_EXPLOITATION = "sadisticOnlineExploitation"
    INFORMATIONAL = "informational"


class Classification(StrEnum):
    """`industryClassification`: the apparent age (A before puberty) and the rank of the content.

    The schema has it used only by companies that signed the agreement on the Industry Hash Sharing
    Platform.
    """

    A1 = "A1"
    A2 = "A2"
    B1 = "B1"
    B2 = "B2"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who files: the platform and its person."""

    first_name: str
    last_name: str
    email: str


@dataclass(frozen=True, slots=True)
class Basis:
    """What a person knew when deciding to file."""

    decided_by: str
    """The reviewer's name."""
    looked: bool
    """Whether the content was revealed to who decided."""
    removed: bool
    """Whether the decision was to remove it."""


@dataclass(frozen=True, slots=True)
class Report:
    """`<report>`: what is sent to `/submit`."""

    incident_type: IncidentType
    incident_at: datetime
    reporter: Reporter
    urls: tuple[str, ...]
    reported_user: str = ""
    """The platform's own identifier of who posted it (`espIdentifier`)."""
    annotations: frozenset[Annotation] = frozenset()
    escalate: str = ""
    """Why it is urgent; any text here escalates the report."""
    additional_info: str = ""


@dataclass(frozen=True, slots=True)
class FileDetails:
    """`<fileDetails>`: what is sent to `/fileinfo` for one uploaded file."""

    location: str
    viewed: bool
    publicly_available: bool
    classification: Classification | None
    md5: str
    sha256: str


def check_basis(basis: Basis) -> None:
    """Return if a report may be filed on this basis.

    Raises:
        NotReportableError: unless a named person looked at the content and decided to remove it. A
            match alone, on a listing of whatever level, is never enough.
    """
    if not basis.decided_by.strip():
        raise NotReportableError("a report is filed by a person, by name")
    if not basis.looked:
        raise NotReportableError("nobody has looked at it: a match alone is never reported")
    if not basis.removed:
        raise NotReportableError("the decision was to keep it")


def report_xml(report: Report) -> bytes:
    """The document for `/submit`.

    Raises:
        InputError: naming the field that the schema would refuse.
    """
    if not report.urls:
        raise InputError("a report names at least one address")
    root = ET.Element("report")
    summary = _under(root, "incidentSummary")
    _text(summary, "incidentType", report.incident_type, 256)
    if report.escalate.strip():
        _text(summary, "escalateToHighPriority", report.escalate, MAX_DETAIL)
    if report.annotations:
        flags = _under(summary, "reportAnnotations")
        for annotation in Annotation:
            if annotation in report.annotations:
                _under(flags, annotation.value)
    _text(summary, "incidentDateTime", _time(report.incident_at), 40)
    page = _under(_under(root, "internetDetails"), "webPageIncident")
    for url in report.urls:
        # Whitespace in an address is answered 4100.
        if re.search(r"\s", url):
            raise InputError("an address has no spaces")
        _text(page, "url", url, MAX_URL)
    person = _under(_under(root, "reporter"), "reportingPerson")
    _text(person, "firstName", report.reporter.first_name, MAX_NAME)
    _text(person, "lastName", report.reporter.last_name, MAX_NAME)
    if "@" not in report.reporter.email:
        raise InputError("the reporter needs an e-mail address")
    _text(person, "email", report.reporter.email, MAX_EMAIL)
    if report.reported_user.strip():
        _text(_under(root, "personOrUserReported"), "espIdentifier", report.reported_user, 255)
    if report.additional_info.strip():
        _text(root, "additionalInfo", report.additional_info, MAX_DETAIL)
    return _document(root)


def file_xml(report_id: str, file_id: str, file: FileDetails) -> bytes:
    """The document for `/fileinfo`.

    Raises:
        InputError: naming the field that the schema would refuse.
    """
    root = ET.Element("fileDetails")
    _text(root, "reportId", report_id, 40)
    _text(root, "fileId", file_id, 64)
    if file.location.strip():
        _text(root, "locationOfFile", file.location, MAX_URL)
    _text(root, "fileViewedByEsp", _truth(file.viewed), 5)
    _text(root, "publiclyAvailable", _truth(file.publicly_available), 5)
    _text(root, "fileRelevance", "Reported", 32)
    if file.classification is not None:
        _text(root, "industryClassification", file.classification, 2)
    for kind, value in (("MD5", file.md5), ("SHA256", file.sha256)):
        _text(root, "originalFileHash", value, 128).set("hashType", kind)
    return _document(root)


def _under(parent: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(parent, name)


def _text(parent: ET.Element, name: str, text: str, longest: int) -> ET.Element:
    text = text.strip()
    if not 0 < len(text) <= longest:
        raise InputError(f"{name} has 1 to {longest} characters")
    if _NOT_XML.search(text):
        raise InputError(f"{name} holds a character that is not text")
    element = _under(parent, name)
    element.text = text
    return element


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _document(root: ET.Element) -> bytes:
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
