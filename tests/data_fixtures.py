"""Tiny datasets in every form that can be read, drawn on paper."""

import json
from pathlib import Path
from typing import Any

from PIL import Image


def write_json(file: Path, value: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def draw(file: Path, size: tuple[int, int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(file)


def region(x: float, y: float, width: float, height: float, phrase: str) -> dict[str, Any]:
    return {"x": x, "y": y, "width": width, "height": height, "phrase": phrase}


def visual_genome(folder: Path, *, image_key: str = "id") -> Path:
    """Images 7 and 9 of 200 x 100 pixels with 3 and 1 regions, their photos in two folders."""
    regions = [
        region(10, 20, 30, 40, "There is a  Red cup "),
        region(-2, 0, 100, 50, "this seems to be a dog"),
        region(0, 0, 200, 100, "one two three four five six seven eight nine ten eleven"),
    ]
    write_json(
        folder / "region_descriptions.json",
        [
            {image_key: 7, "regions": [{**each, image_key: 7} for each in regions]},
            {image_key: 9, "regions": [{**region(5, 5, 10, 10, "a cat"), image_key: 9}]},
        ],
    )
    write_json(
        folder / "image_data.json",
        [{image_key: number, "width": 200, "height": 100, "url": ""} for number in (7, 9)],
    )
    write_json(folder / "densecap_splits.json", {"train": [7], "val": [9, 11], "test": []})
    draw(folder / "VG_100K" / "7.jpg", (200, 100))
    draw(folder / "VG_100K_2" / "9.jpg", (200, 100))
    return folder


ANNOTATION = """<?xml version="1.0"?>
<annotation><filename>12.jpg</filename>
<size><width>100</width><height>50</height><depth>3</depth></size>
<object><name>1</name><name>3</name>
<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>50</ymax></bndbox></object>
<object><name>1</name>
<bndbox><xmin>41</xmin><ymin>1</ymin><xmax>60</xmax><ymax>30</ymax></bndbox></object>
<object><name>2</name><scene>1</scene><nobndbox>0</nobndbox></object>
<object><name>4</name><scene>0</scene><nobndbox>1</nobndbox></object>
</annotation>
"""
SENTENCES = """[/EN#1/people Two men] stand in [/EN#2/scene a park] .
[/EN#3/people/other A man] and [/EN#0/notvisual it] near [/EN#1/people two men] .
[/EN#1/people Two tall , old men] with [/EN#4/other nothing] .
"""


def flickr30k_entities(folder: Path) -> Path:
    """Photo 12 of 100 x 50 pixels: chain 1 has two boxes, chain 3 one of them, 2 and 4 none."""
    for name, text in (("Annotations/12.xml", ANNOTATION), ("Sentences/12.txt", SENTENCES)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "val.txt").write_text("12\n", encoding="utf-8")
    draw(folder / "flickr30k-images" / "12.jpg", (100, 50))
    return folder


def coco(folder: Path) -> Path:
    """Image 3 with a dog, a crowd and a cup, image 5 with nothing; two captions."""
    boxes = [(18, [10.5, 20, 30, 40.25], 0), (1, [0, 0, 100, 50], 1), (47, [90, 10, 10.5, 5], 0)]
    write_json(
        folder / "annotations" / "instances_val2017.json",
        {
            "info": {},
            "images": [
                {"id": 3, "file_name": "03.jpg", "width": 100, "height": 80},
                {"id": 5, "file_name": "05.jpg", "width": 60, "height": 80},
            ],
            "categories": [
                {"id": 1, "name": "person", "supercategory": "person"},
                {"id": 18, "name": "dog", "supercategory": "animal"},
                {"id": 47, "name": "cup", "supercategory": "kitchen"},
            ],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 3,
                    "category_id": category,
                    "bbox": box,
                    "iscrowd": crowd,
                    "segmentation": [[1, 2, 3, 4, 5, 6]],
                }
                for category, box, crowd in boxes
            ],
        },
    )
    captions = [{"image_id": 5, "caption": text} for text in ("An empty room.", " Nothing. ")]
    write_json(
        folder / "annotations" / "captions_val2017.json", {"images": [], "annotations": captions}
    )
    draw(folder / "val2017" / "03.jpg", (100, 80))
    draw(folder / "val2017" / "05.jpg", (60, 80))
    return folder


def json_lines(folder: Path) -> Path:
    """val.jsonl with two photos, one region each."""
    rows = [
        {
            "image": f"images/{name}.jpg",
            "width": 40,
            "height": 30,
            "regions": [
                {
                    "box": [0, 1, 20, 30],
                    "phrases": ["a dog", "A big dog"],
                    "long_phrases": ["a big dog in a park"],
                    "kind": "animals",
                    "parts": [[0, 1, 10, 30], [10, 1, 20, 30]],
                }
            ],
            "captions": ["A dog."],
        }
        for name in ("a", "b")
    ]
    for name in ("a", "b"):
        draw(folder / "images" / f"{name}.jpg", (40, 30))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "val.jsonl").write_text(lines, encoding="utf-8")
    return folder
