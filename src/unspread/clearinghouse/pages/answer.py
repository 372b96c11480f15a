"""The answer to the form: a small page in a frame, which the page around it reads."""

from django.template.loader import render_to_string


def render_answer(outcome: str) -> str:
    """HTML whose `main` carries the JSON text `outcome`, the same as a JSON caller gets."""
    return render_to_string("pages/answer.html", {"outcome": outcome})
