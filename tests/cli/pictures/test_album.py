"""`--save` and `--sheet`: files that never replace what dcsearch has not drawn."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from cli.pictures.album import (
    Album,
    check_folder,
    check_sheet,
    picture_name,
    save_answer,
    save_sheet,
)
from cli.pictures.picture import COLOURS, Mark
from dcsearch.errors import UsageError
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.photos.open import is_drawn
from tests.photo_fixtures import DISPLAY_P3, rgb_profile, seen_in_srgb
from tests.program import draw_photo

MARKS = [Mark(box=(20, 20, 100, 90), label="a dog", note="-3.20")]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "beach.jpg"
    draw_photo(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "saved"


def answer(*photos: Path, size: tuple[int, int] = (160, 120)) -> Answer:
    return Answer(
        query_id=None,
        asked_at=datetime(2024, 5, 17, tzinfo=UTC),
        phrases=("a dog",),
        unknown_words=(),
        model_name="tiny",
        model_sha256="ab" * 32,
        photos=9,
        regions=900,
        elapsed_ms=1.0,
        results=tuple(
            PhotoResult(
                rank=rank,
                path=path,
                score=-3.0,
                width=size[0],
                height=size[1],
                regions=(
                    AlignedRegion(
                        phrase="a dog",
                        box=(20.0, 20.0, 100.0, 90.0),
                        score=-3.0,
                        log_likelihood=-2.9,
                        objectness=0.9,
                        caption="a cat",
                    ),
                ),
            )
            for rank, path in enumerate(photos, start=1)
        ),
    )


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(
    ("photo", "rank", "of", "name"),
    [
        ("/p/beach.jpg", 1, 10, "01_beach.jpg"),
        ("/p/beach.PNG", 7, 100, "007_beach.png"),
        ("/p/beach.heic", 1, 1, "01_beach.jpg"),
        ("/p/beach", 1, 1, "01_beach.jpg"),
        ("/p/a:b*c?\x1b\n\u202e.gif", 1, 1, "01_a_b_c____.jpg"),
        ("/p/caf\udce9.jpg", 1, 1, "01_caf_.jpg"),
        ("/p/" + "é" * 100 + ".jpg", 1, 1, "01_" + "é" * 60 + ".jpg"),
        ("/p/.jpg.jpg", 1, 1, "01_.jpg.jpg"),
    ],
)
def test_names_have_the_rank_in_front(photo: str, rank: int, of: int, name: str) -> None:
    assert picture_name(Path(photo), rank=rank, of=of) == name


def test_a_photo_is_saved_drawn_upon_and_left_alone_itself(photo: Path, folder: Path) -> None:
    before = photo.read_bytes()
    album = Album(folder)
    album.add(photo, MARKS, rank=1, of=1, size=(160, 120))
    assert names(folder) == ["01_beach.jpg"]
    assert album.saved == [folder / "01_beach.jpg"]
    assert photo.read_bytes() == before
    with Image.open(folder / "01_beach.jpg") as picture:
        assert picture.format == "JPEG"
        assert picture.size == (160, 120)
        colours = {picture.getpixel((column, 110 - 20)) for column in range(40, 80)}
    assert any(
        max(abs(a - b) for a, b in zip(colour, COLOURS[0], strict=True)) < 60 for colour in colours
    )


def test_png_stays_png_without_loss(folder: Path, tmp_path: Path) -> None:
    draw_photo(tmp_path / "beach.png")
    album = Album(folder)
    album.add(tmp_path / "beach.png", [], rank=1, of=1, size=None)
    with Image.open(folder / "01_beach.png") as saved, Image.open(tmp_path / "beach.png") as photo:
        assert saved.format == "PNG"
        assert saved.tobytes() == photo.tobytes()


def test_the_next_answer_replaces_the_pictures_of_the_last_one(photo: Path, folder: Path) -> None:
    for _ in range(2):
        save_answer(answer(photo), folder)
    assert names(folder) == ["01_beach.jpg"]


def test_a_photo_in_the_folder_is_never_replaced(photo: Path, tmp_path: Path) -> None:
    own = tmp_path / "01_beach.jpg"
    draw_photo(own, seed=5)
    before = own.read_bytes()
    for _ in range(2):
        save_answer(answer(photo), tmp_path)
    assert own.read_bytes() == before
    assert names(tmp_path) == ["01_beach-2.jpg", "01_beach.jpg", "beach.jpg"]


def test_a_link_in_the_folder_is_not_followed(photo: Path, folder: Path) -> None:
    before = photo.read_bytes()
    folder.mkdir()
    (folder / "01_beach.jpg").symlink_to(photo)
    save_answer(answer(photo), folder)
    assert photo.read_bytes() == before
    assert (folder / "01_beach.jpg").is_symlink()
    assert "01_beach-2.jpg" in names(folder)


def test_photos_of_one_name_do_not_collide(tmp_path: Path, folder: Path) -> None:
    photos = [tmp_path / name / "a.jpg" for name in ("x", "y", "z")]
    for seed, photo in enumerate(photos):
        photo.parent.mkdir()
        draw_photo(photo, seed=seed)
    save_answer(answer(*photos), folder)
    assert names(folder) == ["01_a.jpg", "02_a.jpg", "03_a.jpg"]


def test_missing_and_changed_photos_are_noted_and_the_others_drawn(
    photo: Path, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photo(tmp_path / "changed.jpg", size=(80, 60))
    album = save_answer(answer(tmp_path / "gone.jpg", tmp_path / "changed.jpg", photo), folder)
    album.report()
    assert names(folder) == ["03_beach.jpg"]
    assert capsys.readouterr().err == (
        f"not drawn: {tmp_path}/gone.jpg: it cannot be read: No such file or directory\n"
        f"not drawn: {tmp_path}/changed.jpg: it has changed since it was indexed; index it again\n"
        f"1 picture in {folder}\n"
    )


def test_a_profile_is_kept_unless_it_is_not_for_rgb(tmp_path: Path, folder: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, own in (("rgb", profile), ("cmyk", profile[:16] + b"CMYK" + profile[20:])):
        with Image.new("RGB", (60, 40), "red") as picture:
            picture.save(tmp_path / f"{name}.png", icc_profile=own)
        Album(folder).add(tmp_path / f"{name}.png", MARKS, rank=1, of=1, size=None)
    with Image.open(folder / "01_rgb.png") as rgb, Image.open(folder / "01_cmyk.png") as cmyk:
        assert rgb.info["icc_profile"] == profile
        assert "icc_profile" not in cmyk.info


def test_colours_of_another_profile_are_saved_in_srgb(tmp_path: Path, folder: Path) -> None:
    profile = rgb_profile(DISPLAY_P3, 2.2)
    Image.new("RGB", (160, 120), (200, 30, 40)).save(tmp_path / "a.png", icc_profile=profile)
    photo = tmp_path / "a.png"
    save_answer(answer(photo), folder)
    save_sheet(answer(photo), folder / "sheet.png")
    expected = tuple(seen_in_srgb((200, 30, 40), DISPLAY_P3, 2.2).round().astype(int))
    with Image.open(folder / "01_a.png") as picture:
        assert "icc_profile" not in picture.info
        corner = picture.getpixel((155, 115))
    assert max(abs(a - b) for a, b in zip(corner, expected, strict=True)) <= 2
    with Image.open(folder / "sheet.png") as sheet:
        colours = sheet.convert("RGB").getcolors(1 << 24)
    assert any(
        count > 500 and max(abs(a - b) for a, b in zip(colour, expected, strict=True)) <= 2
        for count, colour in colours
    )


@pytest.mark.parametrize("code", [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_folder_that_cannot_be_written_is_one_sentence_and_leaves_nothing(
    photo: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, code: tuple[int, str]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(*code)

    monkeypatch.setattr(Image.Image, "save", fail)
    expected = f"cannot write to {folder}: {code[1].lower()}; choose another place for --save"
    with pytest.raises(UsageError) as raised:
        save_answer(answer(photo), folder)
    assert str(raised.value) == expected
    assert names(folder) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(photo: Path) -> None:
    with pytest.raises(UsageError) as raised:
        save_answer(answer(photo), photo / "saved")
    assert str(raised.value) == (
        f"cannot write to {photo}/saved: not a directory; choose another place for --save"
    )


def test_a_sheet_is_a_png_and_replaces_only_sheets(photo: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    for _ in range(2):
        save_sheet(answer(photo, tmp_path / "gone.jpg"), sheet)
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
    assert names(sheet.parent) == ["sheet.png"]
    assert sheet.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_sheet_never_replaces_a_photo(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    draw_photo(photo)
    with pytest.raises(UsageError) as raised:
        check_sheet(photo)
    assert str(raised.value) == (
        f"{photo} was not drawn by dcsearch and is left alone; choose another name"
    )


def test_a_file_that_cannot_be_read_is_not_ours(tmp_path: Path) -> None:
    """It is opened as photos are: no damage makes it raise anything else."""
    for content in (b"", b"\0\0\0\x20ftypavif\0\0\0\0avif" + bytes(99), b"II*\0" + b"\xff" * 60):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(UsageError, match="was not drawn by dcsearch and is left alone"):
            check_sheet(tmp_path / "x.png")


def test_every_picture_carries_the_mark(photo: Path, folder: Path, tmp_path: Path) -> None:
    draw_photo(tmp_path / "beach.png")
    save_answer(answer(photo, tmp_path / "beach.png"), folder)
    save_sheet(answer(photo), folder / "sheet.png")
    for name in names(folder):
        assert is_drawn(folder / name)
        with Image.open(folder / name) as picture:
            exif = picture.getexif()
            picture.save(tmp_path / "converted.webp", exif=exif)
        assert is_drawn(tmp_path / "converted.webp")


def test_a_sheet_is_named_png_and_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^a contact sheet is a PNG file: name it a\.png$"):
        check_sheet(Path("a.jpg"))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=r"is a folder; name a file in it: --sheet .*answer\.png$"):
        check_sheet(tmp_path / "folder.png")


def test_an_album_is_a_folder(photo: Path, tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "not" / "there" / "yet")
    with pytest.raises(UsageError, match=r"beach\.jpg is not a folder; choose another one for --s"):
        check_folder(photo)


def test_a_sheet_makes_one_folder_and_no_more(tmp_path: Path) -> None:
    check_sheet(tmp_path / "new" / "sheet.png")
    with pytest.raises(UsageError, match=r"there is no folder .*/new to make dir in; make it, or"):
        check_sheet(tmp_path / "new" / "dir" / "sheet.png")
    save_sheet(answer(), tmp_path / "new" / "sheet.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


@pytest.mark.parametrize("kind", ["AVIF", "TIFF", "GIF", "PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("damage", [0, 12, 40])
def test_what_is_damaged_was_not_drawn_by_us(kind: str, damage: int, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    Image.new("RGB", (64, 48), "red").save(file, kind)
    content = bytearray(file.read_bytes())
    content[damage : damage + 30] = b"\xff" * 30
    file.write_bytes(content)
    with pytest.raises(UsageError, match="was not drawn by dcsearch and is left alone"):
        check_sheet(file)
