"""The answer to the form: a small page in a frame, which the page around it reads."""

from django.template.loader import render_to_string


def render_answer(outcome: str, challenge: str = "") -> str:
    """HTML whose `main` carries the JSON text `outcome`, the same as a JSON caller gets.

    `challenge` is the JSON text of a new proof of work, where the one sent does not serve: the
    page around the answer cannot ask for one, because it connects to nothing.
    """
    return render_to_string("pages/answer.html", {"outcome": outcome, "challenge": challenge})
