"""Addresses of the console, below /staff/."""

from django.urls import path

from unspread.clearinghouse.staff import views

app_name = "staff"
urlpatterns = [
    path("", views.sign_in, name="sign-in"),
    path("join/<str:secret>", views.join, name="join"),
    path("sign-out", views.sign_out, name="sign-out"),
    path("today", views.today, name="today"),
    path("partners", views.partner_list, name="partners"),
    path("review", views.review, name="review"),
    path("incident", views.incident, name="incident"),
    path("texts", views.edit_texts, name="texts"),
    path("report", views.report, name="report"),
    path("trail", views.trail, name="trail"),
    path("asset/<str:name>", views.asset, name="asset"),
]
