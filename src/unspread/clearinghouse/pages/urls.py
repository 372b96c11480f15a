"""Addresses of the person's pages: one per language, short and without meaning for others."""

from django.urls import path

from unspread.clearinghouse.pages import views

app_name = "pages"
urlpatterns = [
    path("", views.to_language, name="root"),
    path("favicon.ico", views.favicon),
    path("leave", views.leave, name="leave"),
    path("page/brand.css", views.brand_style, name="brand"),
    path("page/<path:name>", views.asset, name="asset"),
    path("<slug:language>/", views.start, name="start"),
    path("<slug:language>/begin", views.begin, name="begin"),
    path("<slug:language>/status", views.status, name="status"),
    path("<slug:language>/help", views.helpers, name="help"),
    path("<slug:language>/<slug:name>", views.information, name="information"),
]
