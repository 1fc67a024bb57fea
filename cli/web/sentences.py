"""Sentences: a question in words, as the page says it above its results."""

from cli.asking import in_words
from cli.web.questions import Asked
from dcsearch.errors import UsageError

_QUOTES = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
_THAT = "that region"


def question_sentence(asked: Asked) -> str:
    """What is asked, as one sentence without a full stop; empty where it cannot be read."""
    try:
        words = in_words(asked.question([_THAT for _ in asked.places]), quotes=_QUOTES)
    except UsageError:
        return ""
    parts = ["Photos of " + words.replace(_THAT.join(_QUOTES), "what is like the region")]
    if asked.min_score is not None:
        parts.append(f"scoring {asked.min_score:g} or more")
    if asked.after:
        parts.append(f"taken from {asked.after} on")
    if asked.before:
        parts.append(f"taken before {asked.before}")
    if asked.camera:
        parts.append(f"with a camera called {' or '.join(asked.camera)}")
    if asked.path:
        parts.append(f"at {asked.path}")
    return ", ".join(parts)
