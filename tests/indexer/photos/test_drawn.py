"""What dcsearch drew is known by its mark, whatever its name and format."""

from pathlib import Path

import pytest
from PIL import Image, ImageFile, PngImagePlugin

from dcsearch.errors import PhotoError
from indexer.photos.drawn import DRAWN, MARK
from indexer.photos.open import is_drawn, open_photo, quiet_pillow
from tests.indexer_fixtures import drawn

SOFTWARE = 0x0131


def png_text(text: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", text)
    return info


def software(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[SOFTWARE] = text
    return exif


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"pnginfo": png_text(MARK)}),
        ("a.jpg", {"comment": MARK}),
        ("a.gif", {"comment": MARK.encode()}),
        *(
            (f"a.{kind}", {"exif": software(MARK)})
            for kind in ("jpg", "png", "webp", "tif", "avif")
        ),
    ],
)
def test_a_mark_is_found_without_decoding(
    tmp_path: Path, name: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    drawn().save(path, **options)  # type: ignore[arg-type]
    odd = path.rename(tmp_path / "IMG_0001.jpg")
    assert open_photo(odd).width == 48
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    assert is_drawn(odd)
    with pytest.raises(PhotoError, match=f"^{DRAWN}$"):
        open_photo(odd, drawn=False)


def test_the_mark_may_stand_beside_another_comment(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.jpg", comment="mine")
    content = (tmp_path / "a.jpg").read_bytes()
    comment = b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK.encode()
    (tmp_path / "a.jpg").write_bytes(content[:2] + comment + content[2:])
    assert is_drawn(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"pnginfo": png_text("GIMP")}),
        ("a.jpg", {"comment": f"not {MARK}"}),
        ("b.jpg", {"exif": software("darktable")}),
        ("c.jpg", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}),
        ("a.bmp", {}),
    ],
)
def test_other_pictures_are_photos(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    drawn().save(tmp_path / name, **options)  # type: ignore[arg-type]
    with quiet_pillow():
        assert not is_drawn(tmp_path / name)
        assert open_photo(tmp_path / name, drawn=False).width == 48


def test_what_cannot_be_read_was_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert not is_drawn(tmp_path / "a.png")
    assert not is_drawn(tmp_path / "gone.png")
    assert not is_drawn(tmp_path)
