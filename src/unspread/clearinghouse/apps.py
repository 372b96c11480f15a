"""The clearinghouse as a Django application."""

from django.apps import AppConfig


class ClearinghouseConfig(AppConfig):
    """Its models are the schema for both databases."""

    name = "unspread.clearinghouse"
    label = "clearinghouse"
    default_auto_field = "django.db.models.BigAutoField"
