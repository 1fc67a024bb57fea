"""Flickr30k Entities: chains, their boxes, and what has none."""

from pathlib import Path

import pytest

from dcsearch.data.dataset import Dataset, read_dataset
from dcsearch.data.findings import Finding, Kind
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError
from tests.data_fixtures import ANNOTATION, SENTENCES, flickr30k_entities


def test_a_chain_becomes_a_region(tmp_path: Path) -> None:
    """Edges name pixels from 1 on: 1 to 20 are the twenty pixels from 0 to 20."""
    assert read_dataset(flickr30k_entities(tmp_path)) == [
        AnnotatedPhoto(
            path=tmp_path / "flickr30k-images" / "12.jpg",
            width=100,
            height=50,
            regions=(
                AnnotatedRegion(
                    box=(0, 0, 60, 50),
                    phrases=("two men", "two tall , old men"),
                    long_phrases=(),
                    kind="people",
                    parts=((0, 10, 20, 50), (40, 0, 60, 30)),
                ),
                AnnotatedRegion(
                    box=(0, 10, 20, 50), phrases=("a man",), long_phrases=(), kind="people"
                ),
            ),
            captions=(
                "Two men stand in a park .",
                "A man and it near two men .",
                "Two tall , old men with nothing .",
            ),
        )
    ]


def test_phrases_of_a_scene_or_of_nothing_visible_are_left_out_and_told(tmp_path: Path) -> None:
    findings: list[Finding] = []
    list(Dataset(path=flickr30k_entities(tmp_path)).photos(findings.append))
    assert [(each.kind, each.reason) for each in findings] == [
        (Kind.unboxed, "'a park' has no box"),
        (Kind.unboxed, "'it' has no box"),
        (Kind.unboxed, "'nothing' has no box"),
    ]


def test_a_box_that_is_there_twice_is_one(tmp_path: Path) -> None:
    first, *_, end = ANNOTATION.split("<object>")
    thing = ANNOTATION.split("<object>")[1]
    folder = flickr30k_entities(tmp_path)
    text = "<object>".join([first, thing, thing, end])
    (folder / "Annotations" / "12.xml").write_text(text)
    (photo,) = read_dataset(folder)
    assert photo.regions[0].box == (0, 10, 20, 50)
    assert photo.regions[0].parts == ()


def test_a_split_names_its_photos_in_its_order(tmp_path: Path) -> None:
    folder = flickr30k_entities(tmp_path)
    for name in ("Annotations/12.xml", "Sentences/12.txt"):
        content = (folder / name).read_bytes()
        (folder / name.replace("12", "3")).write_bytes(content)
    assert [photo.path.name for photo in read_dataset(folder)] == ["12.jpg", "3.jpg"]
    assert [photo.path.name for photo in read_dataset(folder, split="val")] == ["12.jpg"]
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "test.txt").write_text("3\n12\n")
    photos = Dataset(path=folder, split="test", splits=lists).photos()
    assert [photo.path.name for photo in photos] == ["3.jpg", "12.jpg"]
    with pytest.raises(DataError, match=r"no such file: .*train\.txt"):
        read_dataset(folder, split="train")


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxx"><!ENTITY y "&x;&x;">]>'
FOREIGN = '<!DOCTYPE a SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize("beginning", [BOMB, FOREIGN])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(beginning: str, encoding: str, tmp_path: Path) -> None:
    file = flickr30k_entities(tmp_path) / "Annotations" / "12.xml"
    text = ANNOTATION.replace('<?xml version="1.0"?>', beginning).replace("12.jpg", "&y;")
    file.write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == (
        f"{file}: it has a document type, which no annotation needs; mend or remove it"
    )


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ("<width>100</width>", "", "", "<size/width> is missing"),
        ("<width>100</width>", "<width>0</width>", "", "a photo of 0 x 50 pixels"),
        ("<xmax>60</xmax>", "", " object 2", "<bndbox/xmax> is missing"),
        ("<xmax>60</xmax>", "<xmax>wide</xmax>", " object 2", "could not convert"),
        ("<xmax>60</xmax>", "<xmax>nan</xmax>", " object 2", "is not four finite numbers"),
        ("</annotation>", "", "", "no element found"),
        ("version", "encoding='nope' version", "", ""),
    ],
)
def test_a_malformed_annotation_is_named(
    old: str, new: str, place: str, reason: str, tmp_path: Path
) -> None:
    file = flickr30k_entities(tmp_path) / "Annotations" / "12.xml"
    file.write_text(ANNOTATION.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value).startswith(f"{file}{place}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("/people Two men]", " Two men]", "line 1 has a mark that is not [/EN#chain/type phrase]"),
        ("a park]", "a park", "line 1 has a mark that is not [/EN#chain/type phrase]"),
    ],
)
def test_a_malformed_sentence_is_named(old: str, new: str, reason: str, tmp_path: Path) -> None:
    file = flickr30k_entities(tmp_path) / "Sentences" / "12.txt"
    file.write_text(SENTENCES.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == f"{file}: {reason}; mend or remove it"


def test_missing_sentences_are_named(tmp_path: Path) -> None:
    file = flickr30k_entities(tmp_path) / "Sentences" / "12.txt"
    file.unlink()
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == f"{file}: No such file or directory; mend or remove it"
