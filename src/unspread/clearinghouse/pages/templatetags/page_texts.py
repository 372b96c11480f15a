"""Texts that a page's script chooses by a number: one for each plural form of the language."""

from typing import Final

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from unspread.clearinghouse.pages.languages import EUROPEAN, NAMES

register = template.Library()

SAMPLES: Final = (0, 1, 2, 3, 5, 11, 20, 100, 1_000_000)
"""Whole numbers of which, in every language offered, one stands in each plural category of CLDR:
the script looks for the one that is counted like its own number."""


@register.simple_tag
def plurals(name: str, singular: str, plural: str) -> SafeString:
    """The text `name` as it reads for each of SAMPLES."""
    return format_html_join(
        "\n",
        '<p data-text="{}" data-count="{}">{}</p>',
        ((name, number, ngettext(singular, plural, number)) for number in SAMPLES),
    )


@register.filter
def language_name(code: str) -> str:
    """A language's name in itself; the code where it is none of the pages' languages."""
    return NAMES.get(code, code)


@register.filter
def spoken_in_the_union(code: str) -> bool:
    """Whether whoever reads this language most likely lives in the European Union."""
    return code in EUROPEAN


@register.filter
def translated(text: str) -> str:
    """A text of a data file in the page's language; as it stands where there is no translation."""
    return gettext(text) if text else ""
