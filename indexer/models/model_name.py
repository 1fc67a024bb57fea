"""What a model may be called."""

import re

from dcsearch.errors import Cure, UsageError
from indexer.photos.paths import printable

SHIPPED = "default"
SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


def is_name(text: str) -> bool:
    """Whether a model that came here can be called so: not a path, nor the model that ships."""
    return bool(_NAME.fullmatch(text)) and text != SHIPPED and not text.endswith(SUFFIX)


def require_name(text: str) -> str:
    """A text, when a model that came here can be called so.

    Raises:
        UsageError: it cannot.
    """
    if text == SHIPPED:
        raise UsageError(f"{SHIPPED!r} is the model that ships", Cure.NAME_MODEL)
    if not is_name(text):
        raise UsageError(
            f"{printable(text)!r} cannot be a model's name; use letters, digits and _ . + -, "
            "100 at the most"
        )
    return text
