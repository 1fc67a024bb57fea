"""Dates as cameras, phones and programs write them into photos.

EXIF asks for `2012:08:04 10:11:12`. There are also dashes, slashes or dots, an ISO `T`, fractions
of a second, offsets and `Z`, no seconds, no time, one digit instead of two, twelve hours with AM or
PM, hour 24 for midnight (a fault of some phones), digits of other scripts, and bytes instead of
text. What is kept is the camera's own local time, to the second: fractions and offsets are passed
over.
"""

import re
from datetime import datetime

EARLIEST = 1800  # the year; there were no photos before
_DATE = re.compile(r"\s*(\d{4})[\s:/.\-]*(\d{1,2})[\s:/.\-]*(\d{1,2})")
# Hours, minutes and perhaps seconds with the same sign between them; what follows is no offset.
_CLOCK = re.compile(r"[^\d+\-Z]*(\d{1,2})(\s*[:.\-]?\s*)(\d{1,2})(?:\2(\d{1,2}))?(?!\d)")
_MORNING = re.compile(r"am(?![a-z])|a\.m\.|上午|午前|오전", re.IGNORECASE)
_EVENING = re.compile(r"pm(?![a-z])|p\.m\.|下午|午後|오후", re.IGNORECASE)


def read_date(value: object) -> datetime | None:
    """The moment that a tag's value means, in the camera's local time; None where it means none.

    A date without a time is its midnight. Values of other types than text or bytes mean none.
    """
    text = tag_text(value)
    date = _DATE.match(text)
    if date is None:
        return None
    rest = text[date.end() :]
    hour, minute, second = _time_of_day(rest)
    year, month, day = map(int, date.groups())
    try:
        found = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    return found if found.year >= EARLIEST else None


def tag_text(value: object) -> str:
    """The text of an EXIF tag, up to a NUL; empty where the value is no text.

    EXIF's text is ASCII; what is not is UTF-8 where it can be, else Latin-1.
    """
    if isinstance(value, tuple | list) and len(value) == 1:
        (value,) = value
    if isinstance(value, tuple | list) and all(isinstance(part, int) for part in value):
        value = bytes(part & 0xFF for part in value)
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")  # as Pillow has read it
        except UnicodeEncodeError:
            return str(value).split("\0")[0]
    if not isinstance(value, bytes):
        return ""
    if len(value) > 1 and (value[0] == 0) != (value[1] == 0):
        order = "be" if value[0] == 0 else "le"
        return value.decode(f"utf-16-{order}", "replace").split("\0")[0]
    value = value.split(b"\0")[0]
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _time_of_day(text: str) -> tuple[int, int, int]:
    """Hour, minute and second, which may be out of range; midnight where there is no time."""
    clock = _CLOCK.match(text)
    if clock is None:
        return 0, 0, 0
    hour, minute, second = (int(number or 0) for number in clock.group(1, 3, 4))
    if _MORNING.search(text) and hour == 12:
        hour = 0
    elif _EVENING.search(text) and hour < 12:
        hour += 12
    # Some phones count the hours of a day from 1 to 24; a leap second has the number 60.
    return 0 if hour == 24 else hour, minute, min(second, 59) if second == 60 else second
