"""What Django answers: everything that is not the protocol, the log, the feed or health."""

from django.urls import URLPattern, URLResolver, include, path

from unspread.clearinghouse.composition import has_pages

urlpatterns: list[URLPattern | URLResolver] = []
if has_pages():
    urlpatterns.append(path("", include("unspread.clearinghouse.pages.urls")))
