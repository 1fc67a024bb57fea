"""Shapes: proportions of pictures as classes of the stylesheet, so that no page has styles in it.

The classes are `r0` to `r70`: a twentieth of a doubling of width over height apart, from 1 : 2.8 to
4 : 1. A picture is at the most 1.8 % off its class; pages cut that off, or leave it empty.
"""

import math

NARROWEST, WIDEST = -30, 40  # in steps
STEPS = 20  # to a doubling


def shape_class(width: int | None, height: int | None) -> str:
    """The class for a picture of this size; that of a square where the size is not known."""
    step = round(STEPS * math.log2(width / height)) if width and height else 0
    return f"r{min(max(step, NARROWEST), WIDEST) - NARROWEST}"
