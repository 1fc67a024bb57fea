"""Lettering: text measured, shortened and made drawable, in fonts that need no file of ours.

Sizes are pixels of the em. Pillow's own font is legible at every size but knows little more than
ASCII, so text with other letters is set in a font of the system when there is one, and otherwise
loses its accents rather than showing empty boxes.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "segoeui.ttf",
    "Arial.ttf",
)
ELLIPSIS = "…"
# A noncharacter: no font draws it, so whatever looks the same is missing too.
MISSING = "\uffff"


@lru_cache(maxsize=64)
def own_font(size: int) -> Font:
    """Pillow's own font at `size` pixels."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which drawing text needs")
    return font


@lru_cache(maxsize=64)
def system_fonts(size: int) -> tuple[Font, ...]:
    """The fonts of SYSTEM_FONTS that this machine has, at `size` pixels; may be empty."""

    def found() -> Iterator[Font]:
        for name in SYSTEM_FONTS:
            try:
                yield ImageFont.truetype(name, size)
            except OSError:
                continue

    return tuple(found())


@lru_cache(maxsize=4096)
def _has_glyph(font: Font, character: str) -> bool:
    # Control characters have no glyph to look for; callers show them escaped before drawing.
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask(MISSING))


def can_draw(font: Font, text: str) -> bool:
    """Whether the font has a glyph for every character of `text`; True for the empty text."""
    return all(_has_glyph(font, character) for character in set(text))


def lettering(text: str, size: int) -> tuple[Font, str]:
    """The font for `text` at `size` pixels, and the text as that font can draw it.

    Letters that no font has lose their accents (NFKD) or become a question mark.
    """
    own = own_font(size)
    if can_draw(own, text):
        return own, text
    for font in system_fonts(size):
        if can_draw(font, text):
            return font, text
    plain = "".join(
        character
        for character in unicodedata.normalize("NFKD", text)
        if not unicodedata.combining(character)
    )
    return own, "".join(letter if _has_glyph(own, letter) else "?" for letter in plain)


def shortened(text: str, font: Font, width: float) -> str:
    """`text`, cut at its end with an ellipsis so that it is at most `width` pixels wide.

    The ellipsis alone when not even one letter fits.
    """
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle].rstrip() + ELLIPSIS) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + ELLIPSIS


def cap_height(font: Font) -> float:
    """The height of a capital letter in pixels: what centres a line of text in its box."""
    return -font.getbbox("H", anchor="ls")[1]
