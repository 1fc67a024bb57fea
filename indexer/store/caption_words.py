"""The words of captions in PostgreSQL, as SQLite's tokenizer parts and stems them in ASCII."""

import string

# All that parts words: without this, PostgreSQL's parser would take "t-shirt" or "a/b" for one word
# of a kind of its own.
_MARKS = string.punctuation
CONFIGURATION = "dcsearch_captions"


def plain_text(text: str) -> str:
    """The expression of a text, itself an expression, whose words blanks alone part."""
    return f"translate({text}, $marks${_MARKS}$marks$, '{' ' * len(_MARKS)}')"


# The index is on this expression, so that questions have to ask by the same.
CAPTION_WORDS = f"to_tsvector('{CONFIGURATION}', {plain_text('caption')})"
