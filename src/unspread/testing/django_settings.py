"""Both programs' Django applications at once: for the type checker, never to run a service."""

from typing import Any

SECRET_KEY = "for the type checker"  # noqa: S105 - never serves
INSTALLED_APPS: list[str] = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "unspread.clearinghouse",
    "unspread.clearinghouse.pages",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
UNSPREAD_PAGES: Any = None
