"""Django's part of the clearinghouse, put together from `Settings`.

Django serves the person's pages and the staff console, and its migrations are the schema. The
protocol's routes do not pass through it.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import DatabaseError, connections

from unspread.clearinghouse.database import DatabaseUnavailableError
from unspread.clearinghouse.settings import Settings

PAGES: Final = "unspread.clearinghouse.pages"


def has_pages() -> bool:
    """Whether the person's pages are part of this installation."""
    return importlib.util.find_spec(PAGES) is not None


def database(settings: Settings) -> dict[str, Any]:
    """Django's description of the database."""
    if not settings.database_url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(settings.sqlite_path),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                " PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;",
            },
        }
    parts = urlsplit(settings.database_url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }


def django_values(settings: Settings, secret_key: str) -> dict[str, Any]:
    """Every Django setting that differs from Django's default."""
    pages = has_pages()
    return {
        "SECRET_KEY": secret_key,
        "DEBUG": False,
        "ALLOWED_HOSTS": ["*"] if settings.training else [settings.host, "127.0.0.1", "localhost"],
        "ROOT_URLCONF": "unspread.clearinghouse.urls",
        "INSTALLED_APPS": [
            "unspread.clearinghouse",
            *([PAGES] if pages else []),
        ],
        # No session or cookie is made for a person: staff pages alone open one.
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [str(Path(__file__).parent / "staff" / "templates")],
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.template.context_processors.i18n",
                    ]
                },
            }
        ],
        "DATABASES": {"default": database(settings)},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "USE_I18N": True,
        "LANGUAGE_CODE": "en",
        "STATIC_URL": "/static/",
        # Signed cookies of the console alone: a stolen database opens no session.
        "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
        "SESSION_COOKIE_PATH": "/staff/",
        "SESSION_COOKIE_NAME": "staff",
        "SESSION_COOKIE_SAMESITE": "Strict",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SECURE": settings.url.startswith("https:"),
        "SESSION_COOKIE_AGE": 8 * 3600,
        "CSRF_COOKIE_PATH": "/staff/",
        "CSRF_COOKIE_NAME": "staff-form",
        "CSRF_COOKIE_SAMESITE": "Strict",
        "CSRF_COOKIE_HTTPONLY": True,
        "CSRF_COOKIE_SECURE": settings.url.startswith("https:"),
        "CSRF_TRUSTED_ORIGINS": [settings.url],
        "SECURE_REFERRER_POLICY": "no-referrer",
        # Django's own logging writes paths and, on errors, settings: structlog logs instead.
        "LOGGING_CONFIG": None,
        **(_pages_values() if pages else {}),
    }


def _pages_values() -> Mapping[str, Any]:
    """What the pages ask for (languages, middleware): `pages/django_values.py`, if it is there."""
    name = f"{PAGES}.django_values"
    if importlib.util.find_spec(name) is None:
        return {}
    values: Mapping[str, Any] = importlib.import_module(name).VALUES
    return values


def compose(
    settings: Settings, secret_key: str, services: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Set Django up for this clearinghouse; a second call turns the process to another one.

    `services` are further settings, through which views reach what runs.
    """
    values = {**django_values(settings, secret_key), **services}
    if not django_settings.configured:
        django_settings.configure(**values)
        django.setup()
        return
    # Only tests serve one clearinghouse after another in a process.
    connections.close_all()
    for name, value in values.items():
        setattr(django_settings, name, value)
    fresh = type(connections)({"default": database(settings)})
    # What was computed from the old description is kept there too.
    connections.__dict__.clear()
    connections.__dict__.update(fresh.__dict__)


def migrate() -> None:
    """Bring the composed database to this version's schema.

    Raises:
        DatabaseUnavailableError: if it does not answer.
    """
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        raise DatabaseUnavailableError("the database cannot be brought up to date") from error
    finally:
        connections.close_all()
