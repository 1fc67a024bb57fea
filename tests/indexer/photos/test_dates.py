"""The dates that cameras, phones and programs write, and which of a photo's dates is taken."""

import struct
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from indexer.photos.dates import read_date, tag_text
from indexer.photos.open import read_origin
from tests.indexer_fixtures import drawn
from tests.strategies import TEXTS

MAKE, DATE_TIME, EXIF_IFD = 0x010F, 0x0132, 0x8769
DATE_TIME_ORIGINAL, DATE_TIME_DIGITIZED = 0x9003, 0x9004
MOMENT = datetime(2012, 8, 4, 10, 11, 12)


@pytest.mark.parametrize(
    "value",
    [
        "2012:08:04 10:11:12",
        "2012:08:04 10:11:12.345",
        "2012:08:04 10:11:12,345",
        "2012:08:04 10:11:12:345",
        "2012:08:04 10:11:12+02:00",
        "2012:08:04 10:11:12 +0200",
        "2012:08:04 10:11:12.345-05:00",
        "2012:08:04 10:11:12Z",
        "2012:08:04 10:11:12 UTC",
        "2012-08-04T10:11:12",
        "2012-08-04T10:11:12.000Z",
        "2012-08-04 10:11:12",
        "2012/08/04 10:11:12",
        "2012.08.04 10.11.12",
        "2012:08:04T10:11:12",
        "2012:8:4 10:11:12",
        "2012: 8: 4 10:11:12",
        "2012:08:04 10-11-12",
        "20120804 101112",
        "20120804T101112Z",
        "20120804101112",
        "2012:08:04  10:11:12",
        "2012:08:04 10:11:12 AM",
        "2012:08:04 오전 10:11:12",
        "2012:08:04 上午10:11:12",
        "2012:08:04 10:11:12\0",
        "2012:08:04 10:11:12\0garbage",
        " 2012:08:04 10:11:12 ",
        "٢٠١٢:٠٨:٠٤ ١٠:١١:١٢",
        b"2012:08:04 10:11:12\0",
        "2012:08:04 10:11:12\0".encode("utf-16-le"),
        "2012:08:04 10:11:12\0".encode("utf-16-be"),
        "٢٠١٢:٠٨:٠٤ ١٠:١١:١٢".encode().decode("latin-1"),  # as Pillow reads it
        ("2012:08:04 10:11:12",),
        tuple(b"2012:08:04 10:11:12\0"),
    ],
)
def test_a_date_is_read_however_it_is_written(value: object) -> None:
    assert read_date(value) == MOMENT


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2012:08:04 10:11", (10, 11, 0)),
        ("2012-08-04T10:11Z", (10, 11, 0)),
        ("2012-08-04T10:11-05:00", (10, 11, 0)),
        ("2012-08-04T1011-0500", (10, 11, 0)),
        ("2012:08:04", (0, 0, 0)),
        ("2012-08-04Z", (0, 0, 0)),
        ("2012-08-04+02:00", (0, 0, 0)),
        ("20120804", (0, 0, 0)),
        ("2012:08:04   :  :  ", (0, 0, 0)),
        ("2012:08:04 24:11:12", (0, 11, 12)),
        ("2012:08:04 23:59:60", (23, 59, 59)),
        ("2012:08:04 9:05:03", (9, 5, 3)),
        ("2012:08:04 03:04:05 PM", (15, 4, 5)),
        ("2012:08:04 12:04:05 p.m.", (12, 4, 5)),
        ("2012:08:04 12:04:05 AM", (0, 4, 5)),
        ("2012:08:04 오후 03:04:05", (15, 4, 5)),
        ("2012:08:04 下午3:04:05", (15, 4, 5)),
        ("2012:08:04 15:04:05 PM", (15, 4, 5)),
        ("2012:08:04 PM03:04:05", (15, 4, 5)),
        ("2012:08:04 AM12:04:05", (0, 4, 5)),
    ],
)
def test_times_of_other_kinds(value: str, time: tuple[int, int, int]) -> None:
    assert read_date(value) == datetime(2012, 8, 4, *time)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "\0", "0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "None"),
        *("2012:13:04 10:11:12", "2012:08:32 10:11:12", "2012:02:30", "2012:00:04 10:11:12"),
        *("2012:08:04 25:11:12", "2012:08:04 10:61:12", "2012:08:04 10:11:99"),
        *("2012", "2012:08", "04.08.2012 10:11:12", "1344075072", "0001:01:01 00:00:00"),
        *("1201:08:04 10:11:12", b"", b"\xff\xfe", b"\0\0\0\0", None, 20120804, 1344075072.0),
        *((), ("2012:08:04", "10:11:12"), (1, 2.5), {}, [[]]),
    ],
)
def test_nonsense_is_no_date(value: object) -> None:
    assert read_date(value) is None


@st.composite
def written(draw: st.DrawFn) -> tuple[str, datetime]:
    """A date in one of the ways that cameras, phones and programs have, and what it means."""
    moment = draw(st.datetimes(datetime(1800, 1, 1))).replace(microsecond=0)
    between_days, between_hours = draw(st.sampled_from(":-/.")), draw(st.sampled_from(":.-"))
    space = draw(st.sampled_from([" ", "  ", "T"]))
    width = draw(st.sampled_from([1, 2]))
    if width == 2:  # all digits are there, and may stand side by side
        between_days = draw(st.sampled_from([between_days, ": ", ""]))
        between_hours = draw(st.sampled_from([between_hours, ""]))
        space = draw(st.sampled_from([space, ""]))
    zone = draw(st.sampled_from(["", "Z", " UTC", "+02:00", "-05:00", " +0200", " -0500"]))
    day = [f"{moment.year}", f"{moment.month:0{width}}", f"{moment.day:0{width}}"]
    if draw(st.integers(0, 9)) == 0:
        return between_days.join(day) + zone, moment.replace(hour=0, minute=0, second=0)
    before, behind, hour = draw(halves(moment.hour))
    time = [f"{number:0{width}}" for number in (hour, moment.minute, moment.second)]
    if draw(st.booleans()):
        behind = draw(st.sampled_from(["", ".5", ".345", ",345", ":345"])) + behind
    elif between_hours == "-" == zone[:1] and not behind:
        time[2:], zone = [], ""  # the offset would be the seconds
        moment = moment.replace(second=0)
    elif draw(st.booleans()):
        time[2:] = []
        moment = moment.replace(second=0)
    if behind[-1:].isalpha() or behind[-2:] == "m.":
        zone = f" {zone.strip()}"
    text = between_days.join(day) + space + before + between_hours.join(time) + behind + zone
    return text, moment


@st.composite
def halves(draw: st.DrawFn, hour: int) -> tuple[str, str, int]:
    """An hour, with what stands before and behind the time where it is one of twelve."""
    morning, evening = draw(st.sampled_from([("AM", "PM"), ("a.m.", "p.m."), ("上午", "下午")]))
    half = morning if hour < 12 else evening
    kind = draw(st.sampled_from(["before", "behind", "none"]))
    if kind == "none":
        return "", "", draw(st.sampled_from([0, 24])) if hour == 0 else hour
    return (half, "", hour % 12 or 12) if kind == "before" else ("", f" {half}", hour % 12 or 12)


DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９"]


@given(written(), st.sampled_from(DIGITS), st.sampled_from(["", "\0", "\0garbage", " "]), st.data())
def test_any_date_is_read_however_it_is_written(
    date: tuple[str, datetime], digits: str, end: str, data: st.DataObject
) -> None:
    text, moment = date
    text = text.translate(str.maketrans(DIGITS[0], digits)) + end
    values: list[object] = [text, text.encode(), text.encode().decode("latin-1"), (text,)]
    values += [tuple(text.encode()), list(text.encode())]
    if digits == DIGITS[0]:
        for order in ("utf-16-le", "utf-16-be"):
            wide = text.encode(order)
            values += [wide, wide.decode("latin-1"), tuple(wide)]
    assert read_date(data.draw(st.sampled_from(values))) == moment


NUMBERS = st.integers() | st.floats() | st.booleans()
NEARLY = st.text("0123456789:-/. T+Z\0٢apm上")  # often a date


@given(
    st.recursive(
        st.none() | NUMBERS | TEXTS | NEARLY | st.binary() | NEARLY.map(str.encode),
        lambda parts: st.lists(parts) | st.lists(parts).map(tuple),
        max_leaves=5,
    )
)
def test_any_value_whatever_is_a_date_or_none(value: object) -> None:
    found = read_date(value)
    assert found is None or found.year >= 1800


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Éclair", "Éclair"),
        ("Éclair".encode().decode("latin-1"), "Éclair"),
        ("Éclair".encode(), "Éclair"),
        ("Éclair".encode("latin-1"), "Éclair"),
        ("相机".encode().decode("latin-1"), "相机"),
        ("NIKON\0D90", "NIKON"),
        (7, ""),
        (None, ""),
    ],
)
def test_text_of_a_tag_is_decoded(value: object, text: str) -> None:
    assert tag_text(value) == text


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.avif"])
def test_the_original_date_wins_in_every_format(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[DATE_TIME] = "2020:01:01 00:00:00"
    exif.get_ifd(EXIF_IFD).update({DATE_TIME_ORIGINAL: "2012-08-04T10:11:12.345+02:00"})
    drawn().save(tmp_path / name, exif=exif)
    assert read_origin(tmp_path / name).taken_at == MOMENT


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_the_type_of_a_tag_does_not_matter(tmp_path: Path, kind: int) -> None:
    """1: bytes, 2: ASCII, 7: of no type."""
    text = b"2012:08:04 10:11:12\0"
    saved = b"2020:01:01 00:00:00\0"
    # Two directories: the first has the date of the file and the place of the second.
    first = struct.pack("<H", 2)
    first += struct.pack("<HHII", DATE_TIME, 2, 20, 56)
    first += struct.pack("<HHII", EXIF_IFD, 4, 1, 38) + struct.pack("<I", 0)
    second = struct.pack("<H", 1) + struct.pack("<HHII", DATE_TIME_ORIGINAL, kind, 20, 76)
    second += struct.pack("<I", 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + saved + text
    drawn().save(tmp_path / "a.jpg", exif=exif)
    assert read_origin(tmp_path / "a.jpg").taken_at == MOMENT


def test_a_tiff_may_have_the_original_date_among_its_own_tags(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[DATE_TIME] = "2020:01:01 00:00:00"
    tags[DATE_TIME_ORIGINAL] = "2012:08:04 10:11:12"
    drawn().save(tmp_path / "a.tif", tiffinfo=tags)
    assert read_origin(tmp_path / "a.tif").taken_at == MOMENT


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description {attribute}>{element}'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize(
    "xmp",
    [
        XMP.format(attribute='exif:DateTimeOriginal="2012-08-04T10:11:12.5+02:00"', element=""),
        XMP.format(
            attribute="", element="<exif:DateTimeOriginal>2012-08-04T10:11:12</exif:DateTime>"
        ),
        XMP.format(attribute='photoshop:DateCreated="2012-08-04T10:11:12"', element=""),
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_the_original_date_may_be_in_xmp_data(tmp_path: Path, name: str, xmp: str) -> None:
    exif = Image.Exif()
    exif[DATE_TIME] = "2020:01:01 00:00:00"
    if name == "a.png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        drawn().save(tmp_path / name, exif=exif, pnginfo=info)
    else:
        drawn().save(tmp_path / name, exif=exif, xmp=xmp.encode())
    assert read_origin(tmp_path / name).taken_at == MOMENT


def test_nonsense_falls_back_to_the_next_date(tmp_path: Path) -> None:
    taken = []
    for original, digitized in (
        ("2012:13:04 10:11:12", "2013:01:01 00:00:00"),
        ("0000:00:00 00:00:00", "    :  :  "),
        ("2012:08:04", "2013:01:01 00:00:00"),
    ):
        exif = Image.Exif()
        exif[DATE_TIME] = "2020:01:01 00:00:00"
        details = {DATE_TIME_ORIGINAL: original, DATE_TIME_DIGITIZED: digitized}
        exif.get_ifd(EXIF_IFD).update(details)
        drawn().save(tmp_path / "a.jpg", exif=exif)
        taken_at = read_origin(tmp_path / "a.jpg").taken_at
        assert taken_at is not None
        taken.append(taken_at.year)
    assert taken == [2013, 2020, 2012]


def test_a_camera_of_other_letters_keeps_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[MAKE] = "XXclair"
    drawn().save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes().replace(b"XX", "É".encode())
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_origin(tmp_path / "a.jpg").camera == "Éclair"
