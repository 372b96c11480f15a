"""The console's pages. Each looks; what changes something is a form that posts here."""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from django.contrib.sessions.middleware import SessionMiddleware
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.utils.decorators import decorator_from_middleware
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from unspread.case_protocol import from_b64, to_b64
from unspread.clearinghouse import audit, exchange_keys, pages_bridge, partners, store
from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.gate import CALM
from unspread.clearinghouse.service import Service
from unspread.clearinghouse.staff import figures, helplines, members, passkeys, proposals, texts
from unspread.clearinghouse.staff.members import Member, NotAllowedError, Role
from unspread.errors import InputError, TrustError, UnspreadError
from unspread.feed.records import Surface
from unspread.feed.sealing import Scope
from unspread.model import Age, Level, Media, State

T = TypeVar("T")
View = Callable[..., HttpResponse]

STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {"console.css": "text/css", "passkey.js": "text/javascript"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; connect-src 'none'"
)
SCREENS: Final = (
    ("today", "Today"),
    ("partners", "Partners"),
    ("review", "Disputes and quarantine"),
    ("incident", "Incident"),
    ("texts", "Texts and helplines"),
    ("report", "Transparency"),
    ("trail", "Audit trail"),
)
DECIDED_AT: Final[Mapping[str, Collection[proposals.Kind]]] = {
    "partners": proposals.ON_PARTNERS,
    "review": proposals.ON_ITEMS,
    "incident": set(proposals.Kind) - proposals.ON_ITEMS - proposals.ON_PARTNERS,
}
"""On which screen what waits for a second member is decided."""
SESSION_SECONDS: Final = 8 * 3600

with_session = decorator_from_middleware(SessionMiddleware)


def service_of(request: HttpRequest) -> Service:
    """The clearinghouse that serves this request."""
    return cast("Service", request.META["unspread.service"])


def ask(request: HttpRequest, question: Callable[[Connection], T]) -> T:
    """Read."""
    return service_of(request).readers.ask_now(question)


def write(request: HttpRequest, job: Callable[[store.Transaction], T]) -> T:
    """Write; durable when this returns."""
    return service_of(request).writer.submit(job).result()


def guarded(view: View) -> View:
    """Session, CSRF, and headers of every console page."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **more: Any) -> HttpResponse:
        try:
            response = view(request, *args, **more)
        except NotAllowedError as error:
            response = render(request, "staff/error.html", {"text": str(error)}, status=403)
        except UnspreadError as error:
            response = render(request, "staff/error.html", {"text": str(error)}, status=400)
        response["Content-Security-Policy"] = POLICY
        response["Cache-Control"] = "no-store"
        # Under no-referrer a browser sends `Origin: null` with a form, which is nobody's.
        response["Referrer-Policy"] = "same-origin"
        return response

    return cast("View", with_session(csrf_protect(answer)))


def signed_in(view: View) -> View:
    """A page for members; `member` is passed on. Others are sent to sign in."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **more: Any) -> HttpResponse:
        member_id, at = request.session.get("member", (0, 0))
        if time.time() - at > SESSION_SECONDS:
            return HttpResponseRedirect("/staff/")
        try:
            member = ask(request, lambda c: members.member(c, member_id))
        except members.UnknownMemberError:
            request.session.flush()
            return HttpResponseRedirect("/staff/")
        return view(request, member, *args, **more)

    return guarded(answer)


def page(request: HttpRequest, member: Member, name: str, **context: Any) -> HttpResponse:
    """A page of the console."""
    kinds = [each.kind for each in ask(request, proposals.waiting)]
    context = {
        **context,
        "member": member,
        "waiting_count": len(kinds),
        "page": name,
        "roles": Role,
        "screens": [
            (screen, title, sum(kind in DECIDED_AT.get(screen, ()) for kind in kinds))
            for screen, title in SCREENS
        ],
    }
    return render(request, f"staff/{name}.html", context)


@require_safe
def asset(_request: HttpRequest, name: str) -> HttpResponse:
    """The console's style and script."""
    if name not in _TYPES:
        raise Http404
    response = HttpResponse((STATIC / name).read_bytes(), content_type=_TYPES[name])
    response["Cache-Control"] = "no-cache"
    return response


# --- signing in


def _new_challenge(request: HttpRequest) -> bytes:
    text, _ = service_of(request).challenges.issue()
    request.session["challenge"] = text
    return from_b64(text, 40, "challenge")


def _spent_challenge(request: HttpRequest) -> bytes:
    text = request.session.pop("challenge", "")
    service_of(request).challenges.spend(text)
    return from_b64(text, 40, "challenge")


@guarded
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with a passkey."""
    service = service_of(request)
    if request.method == "POST":
        answer = request.POST.get("answer", "")
        challenge = _spent_challenge(request)
        credential_id = passkeys.credential_id_of(answer)
        credential = ask(request, lambda c: members.credential(c, credential_id))
        count = passkeys.verified_sign_in(service.settings, answer, challenge, credential)
        name = credential.member.name
        write(request, lambda tx: members.signed_in(tx, credential_id, count, name))
        request.session.cycle_key()
        request.session["member"] = (credential.member.member_id, int(time.time()))
        return HttpResponseRedirect("/staff/today")
    options = passkeys.sign_in_options(service.settings, _new_challenge(request))
    return render(request, "staff/sign_in.html", {"options": options, "ceremony": "get"})


@guarded
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """Register a passkey with an invitation."""
    service = service_of(request)
    member = ask(request, lambda c: members.invited(c, secret, int(time.time())))
    if request.method == "POST":
        challenge = _spent_challenge(request)
        made = passkeys.registered(service.settings, request.POST.get("answer", ""), challenge)
        write(request, lambda tx: members.register(tx, secret, *made))
        return HttpResponseRedirect("/staff/")
    options = passkeys.registration_options(service.settings, member, _new_challenge(request))
    context = {"options": options, "ceremony": "create", "name": member.name}
    return render(request, "staff/sign_in.html", context)


@signed_in
@require_POST
def sign_out(request: HttpRequest, _member: Member) -> HttpResponse:
    """Sign out."""
    request.session.flush()
    return HttpResponseRedirect("/staff/")


# --- screens


def _daily(request: HttpRequest, name: str, day: int) -> list[int]:
    return ask(request, lambda c: figures.daily(c, name, day))


def _today() -> int:
    return int(time.time()) // store.SECONDS_PER_DAY


@signed_in
@require_safe
def today(request: HttpRequest, member: Member) -> HttpResponse:
    """Today at a glance."""
    day = _today()
    plots = [
        figures.bars(_daily(request, name, day), day, title)
        for name, title in (
            ("cases", "Cases a day"),
            ("withdrawals", "Withdrawals a day"),
            ("feedback.removed", "Removals that platforms reported, a day"),
            ("feedback.disputed", "Disputes a day"),
        )
    ]
    service = service_of(request)
    states = ask(request, figures.by_state)
    long_ago = int(time.time()) - store.SECONDS_PER_DAY
    return page(
        request,
        member,
        "today",
        plots=plots,
        counts=[
            (figures.COUNTED.get(name, name), count)
            for name, count in ask(request, lambda c: figures.totals(c, day)).items()
        ],
        states=states,
        suspended=sum(count for state, _, count in states if state == State.SUSPENDED),
        held=sum(count for state, _, count in states if state == State.HELD),
        silent=[
            each.name
            for each in ask(request, partners.partners)
            if each.state == "active" and "feed" in each.scopes and each.last_heard_at < long_ago
        ],
        work_factor=service.proofs.expected_iterations() // (CALM.cost * 16 ** len(CALM.prefix)),
        log_size=service.publisher.size,
        published_seconds_ago=round(service.clock() - service.publisher.last_success),
        submissions_per_minute=round(service.proofs.rate.per_minute()),
        intake_paused=ask(request, lambda c: store.is_on(c, store.INTAKE_PAUSED)),
    )


@signed_in
@require_http_methods(["GET", "POST"])
def partner_list(request: HttpRequest, member: Member) -> HttpResponse:
    """Partners, their heartbeat, and what can be done with them."""
    invitation = code = ""
    if request.method == "POST":
        member.require(Role.ONBOARDING)
        if request.POST.get("proposal") or request.POST.get("kind"):
            code = _propose_or_decide(request, member, _terms(request.POST))
        else:
            invitation = _change_partner(request, member)
    now = int(time.time())
    size = service_of(request).publisher.size

    def read(connection: Connection) -> list[dict[str, Any]]:
        return [
            {
                "partner": each,
                "keys": partners.keys_words(each) if each.signing_key else "",
                "approvals": partners.approvals(connection, each),
                "behind": size - each.applied_size,
                "heard_minutes_ago": (now - each.last_heard_at) // 60
                if each.last_heard_at
                else None,
                "heard_hours_ago": (now - each.last_heard_at) // 3600,
            }
            for each in partners.partners(connection)
        ]

    table = ask(request, read)
    today = now // store.SECONDS_PER_DAY
    return page(
        request,
        member,
        "partners",
        partners=table,
        active=[row["partner"] for row in table if row["partner"].state == "active"],
        waiting=_waiting(request, "partners"),
        keys=[
            {
                "key": each,
                "used_days_ago": today - each.last_used_day if each.last_used_day else None,
                "ends_at": datetime.fromtimestamp(each.revoked_at, UTC)
                if each.revoked_at
                else None,
            }
            for each in ask(request, exchange_keys.keys_of)
            if not each.revoked_at or each.revoked_at > now
        ],
        invitation=invitation,
        code=code,
        collect_at=f"{service_of(request).settings.url}/keys",
        surfaces=[each.name.lower() for each in Surface],
        levels=[each for each in Level if each is not Level.QUARANTINED],
        programmes=("ncmec", "stopncii", "threatexchange"),
        ages=list(Age),
        media=list(Media),
        scopes=sorted(partners.SCOPES),
        default_scopes=partners.DEFAULT_SCOPES.split(),
    )


def _change_partner(request: HttpRequest, member: Member) -> str:
    form = request.POST
    partner_id, action = form.get("partner", ""), form.get("action", "")
    if action == "invite":
        scopes = frozenset(form.getlist("scope")) or frozenset(partners.DEFAULT_SCOPES.split())
        name, role = form.get("name", ""), form.get("role", "platform")
        return write(
            request,
            lambda tx: partners.invite(tx, name, role=role, scopes=scopes, by=member.name),
        )
    if action in {"approve", "admit"}:
        without_keys = action == "admit"
        write(
            request,
            lambda tx: partners.approve(tx, partner_id, by=member.name, without_keys=without_keys),
        )
    elif action == "suspend":
        reason = form.get("reason", "").strip()
        if not reason:
            raise InputError("say why: the audit trail keeps it")
        write(request, lambda tx: partners.suspend(tx, partner_id, by=member.name, reason=reason))
    elif action == "revoke":
        key_id = form.get("key", "")
        write(request, lambda tx: exchange_keys.revoke(tx, key_id, by=member.name))
    elif action == "resume":
        write(request, lambda tx: partners.resume(tx, partner_id, by=member.name))
    else:
        raise InputError("there is no such action")
    return ""


def _terms(form: QueryDict) -> str:
    """What a form would have a partner get, in its canonical form; empty if it is of another."""
    kind = form.get("kind")
    if kind == proposals.Kind.PARTNER_SCOPE:
        countries = form.get("countries", "").upper().replace(",", " ").split()
        return Scope.from_words(form.getlist("surface"), countries, form.getlist("level")).to_text()
    if kind == proposals.Kind.ISSUE_KEY:
        words = form.getlist("right")
        for name in ("ages", "media", "levels"):
            if form.getlist(name):
                words.append(f"{name}={','.join(form.getlist(name))}")
        if form.get("windows"):
            words.append("windows=yes")
        return exchange_keys.wanted_scope(form.get("programme", ""), " ".join(words))
    return ""


def _waiting(request: HttpRequest, screen: str) -> list[proposals.Proposal]:
    kinds = DECIDED_AT[screen]
    return [each for each in ask(request, proposals.waiting) if each.kind in kinds]


@signed_in
@require_http_methods(["GET", "POST"])
def review(request: HttpRequest, member: Member) -> HttpResponse:
    """Disputes, suspensions and quarantine: age, level, words of platforms; no fingerprint."""
    if request.method == "POST":
        _propose_or_decide(request, member)
        return HttpResponseRedirect("/staff/review")
    day = _today()

    def items(where: str) -> list[dict[str, Any]]:
        def read(connection: Connection) -> list[dict[str, Any]]:
            found = store.items_where(connection, f"WHERE {where} ORDER BY i.id LIMIT 200")
            return [_shown(connection, each, day) for each in found]

        return ask(request, read)

    return page(
        request,
        member,
        "review",
        suspended=items("i.state = 'suspended'"),
        asked=items("i.state = 'listed' AND i.asked_because <> ''"),
        disputed=items("i.state = 'listed' AND i.level = 'disputed'"),
        held=items("i.state = 'held'"),
        waiting=_waiting(request, "review"),
    )


def _shown(connection: Connection, item: store.StoredItem, day: int) -> dict[str, Any]:
    words = connection.rows(
        "SELECT p.name, f.kind, f.count, f.reason, f.settled FROM feedback f JOIN partner p"
        " ON p.partner_id = f.partner_id WHERE f.listing_id = ? ORDER BY f.id LIMIT 50",
        -1 if item.listing_id is None else item.listing_id,
    )
    return {
        "item_id": item.item_id,
        "listing_id": item.listing_id,
        "media": item.media,
        "age": item.age,
        "level": item.level,
        "why": [
            figures.REASONS.get(each, each)
            for each in (*item.reasons, item.suspended_because, item.asked_because)
            if each
        ],
        "days": day - item.submitted_day,
        "words": [
            (name, kind, count, reason.replace("_", " "), settled)
            for name, kind, count, reason, settled in words
        ],
    }


def _propose_or_decide(request: HttpRequest, member: Member, terms: str = "") -> str:
    """The code that a decision gives, if it gives one."""
    form = request.POST
    number = form.get("proposal", "")
    if number:
        if not number.isdecimal():
            raise InputError("there is no such proposal")
        is_yes = form.get("answer") == "yes"
        return write(request, lambda tx: proposals.decide(tx, member, int(number), is_yes=is_yes))
    try:
        kind = proposals.Kind(form.get("kind", ""))
    except ValueError:
        raise InputError("there is no such proposal") from None
    subject, why = form.get("subject", ""), form.get("why", "")
    write(request, lambda tx: proposals.propose(tx, member, kind, subject, why, terms))
    return ""


@signed_in
@require_http_methods(["GET", "POST"])
def incident(request: HttpRequest, member: Member) -> HttpResponse:
    """Pause intake; suspend what a flood brought."""
    if request.method == "POST":
        form = request.POST.copy()
        if form.get("from"):
            start, stop = str(form.get("from")), str(form.get("to", ""))
            form["subject"] = f"{_second(start)}-{_second(stop)}"
            request.POST = form  # type: ignore[assignment]  # Django's own copies are mutable so
        _propose_or_decide(request, member)
        return HttpResponseRedirect("/staff/incident")
    return page(
        request,
        member,
        "incident",
        waiting=_waiting(request, "incident"),
        intake_paused=ask(request, lambda c: store.is_on(c, store.INTAKE_PAUSED)),
    )


def _second(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise InputError("times are like 2026-11-23T14:00, in UTC") from None


@signed_in
@require_http_methods(["GET", "POST"])
def edit_texts(request: HttpRequest, member: Member) -> HttpResponse:
    """What the organisation says on the person's pages; helplines."""
    service = service_of(request)
    if request.method == "POST":
        member.require(Role.EDITOR)
        form = request.POST
        new = texts.Texts(
            contact=form.get("contact", "").strip(),
            message=form.get("message", "").strip(),
            neutral_url=form.get("neutral_url", "").strip(),
            helplines=helplines.to_toml(_rows(form)),
        )
        texts.save(service.settings, new, pages_bridge.check_helplines)
        write(request, lambda tx: audit.record(tx, member.name, "texts.save", "texts"))
        service.texts_changed()
        return HttpResponseRedirect("/staff/texts")
    said = texts.load(service.settings)
    entries = helplines.rows(said.helplines or pages_bridge.shipped_helplines())
    return page(
        request,
        member,
        "texts",
        texts=said,
        entries=[
            [(field, title, each[field]) for field, title in helplines.FIELDS.items()]
            for each in [*entries, dict.fromkeys(helplines.FIELDS, "")]
        ],
        is_shipped=not said.helplines,
    )


def _rows(form: QueryDict) -> list[dict[str, str]]:
    columns = [form.getlist(field) for field in helplines.FIELDS]
    if len({len(column) for column in columns}) > 1:
        raise InputError("the form is malformed")
    return [
        dict(zip(helplines.FIELDS, values, strict=True)) for values in zip(*columns, strict=True)
    ]


@signed_in
@require_safe
def trail(request: HttpRequest, member: Member) -> HttpResponse:
    """The audit trail, newest first, its chain checked."""

    def read(connection: Connection) -> tuple[list[audit.Event], str]:
        try:
            return list(audit.trail(connection))[-500:][::-1], ""
        except TrustError as error:
            return [], str(error)

    events, broken = ask(request, read)
    shown = [
        {
            "event": each,
            "at": datetime.fromtimestamp(each.at, UTC),
            "digest": each.digest.hex()[:16],
        }
        for each in events
    ]
    return page(request, member, "trail", events=shown, broken=broken)


@signed_in
@require_safe
def report(request: HttpRequest, member: Member) -> HttpResponse:
    """The transparency report as the public sees it."""
    return page(request, member, "report", **_report(request))


def _report(request: HttpRequest) -> dict[str, Any]:
    day = _today()
    now = int(time.time())
    year = ask(request, lambda c: figures.totals(c, day - 365))
    return {
        "rows": [
            (title, figures.suppressed(year.get(name, 0)))
            for name, title in figures.REPORTED.items()
        ],
        "propagation": [
            {
                "name": each.name,
                "listings": figures.suppressed(each.listings),
                "median": figures.seconds_words(each.median_seconds),
                "p95": figures.seconds_words(each.p95_seconds),
                "open_after_a_day": figures.suppressed(each.open_after_a_day),
            }
            for each in ask(
                request, lambda c: figures.propagation(c, now, now - 90 * store.SECONDS_PER_DAY)
            )
        ],
        "plots": [
            figures.bars(_daily(request, name, day), day, title, public=True)
            for name, title in (("cases", "Cases a day"), ("withdrawals", "Withdrawals a day"))
        ],
        "suppress_below": figures.SUPPRESS_BELOW,
        "log_size": service_of(request).publisher.size,
        "log_key": to_b64(service_of(request).log_key.public),
        "log_origin": service_of(request).log_origin,
        "organisation": service_of(request).settings.name,
    }


@require_safe
def transparency(request: HttpRequest) -> HttpResponse:
    """The public report: counts of a year, and how fast platforms forget what is withdrawn."""
    response = render(request, "staff/transparency.html", _report(request))
    response["Content-Security-Policy"] = POLICY
    response["Cache-Control"] = "public, max-age=300"
    return response


@require_http_methods(["GET", "POST"])
def collect_keys(request: HttpRequest) -> HttpResponse:
    """Where a partner collects the keys that two members allowed it, by a code, once."""
    rows: list[tuple[str, str, str]] = []
    refused = ""
    if request.method == "POST":
        code = request.POST.get("code", "")
        try:
            rows = exchange_keys.entered(
                *write(request, lambda tx: exchange_keys.collect(tx, code))
            )
        except UnspreadError as error:
            refused = str(error)
    response = render(
        request,
        "staff/keys.html",
        {"rows": rows, "refused": refused},
        status=400 if refused else 200,
    )
    response["Content-Security-Policy"] = POLICY
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response
