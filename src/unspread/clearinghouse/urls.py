"""What Django answers: everything that is not the protocol, the log, the feed or health."""

from django.urls import URLPattern, URLResolver, include, path

from unspread.clearinghouse.composition import has_pages
from unspread.clearinghouse.staff.views import collect_keys, transparency

urlpatterns: list[URLPattern | URLResolver] = [
    path("staff/", include("unspread.clearinghouse.staff.urls")),
    path("transparency", transparency),
    path("keys", collect_keys),
]
if has_pages():
    urlpatterns.append(path("", include("unspread.clearinghouse.pages.urls")))
