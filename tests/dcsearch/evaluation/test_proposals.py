"""Proposals: boxes of a file, of another network and of OpenCV, in the annotation's pixels."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.proposals import annotated_boxes, proposals_of_file, whole_photo
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Describer
from dcsearch.errors import DataError, MissingExtra, UsageError
from dcsearch.evaluation.proposals import edge_boxes, proposals_of_network, selective_search

Box = tuple[float, float, float, float]
ROOT = Path(__file__).parents[3]


def region(box: Box, *parts: Box) -> AnnotatedRegion:
    return AnnotatedRegion(box=box, phrases=("a dog",), long_phrases=(), kind="", parts=parts)


def photo(*regions: AnnotatedRegion, path: str = "photos/a.jpg") -> AnnotatedPhoto:
    """A photo of 200 x 100 pixels."""
    return AnnotatedPhoto(path=Path(path), width=200, height=100, regions=regions, captions=())


# of the annotation


def test_annotated_boxes_are_every_regions_box_and_parts_once() -> None:
    left, right, both = (0.0, 0.0, 9.0, 9.0), (20.0, 5.0, 30.5, 9.0), (0.0, 0.0, 30.5, 9.0)
    found = annotated_boxes(photo(region(left), region(both, left, right), region(left)), None)
    assert found.dtype == np.float32
    assert found.tolist() == [list(box) for box in (left, both, right)]


def test_a_photo_without_regions_has_no_annotated_boxes() -> None:
    assert annotated_boxes(photo(), None).shape == (0, 4)


def test_the_whole_photo_is_one_box_in_the_annotations_pixels() -> None:
    found = whole_photo(photo(), None)
    assert found.dtype == np.float32
    assert found.tolist() == [[0.0, 0.0, 200.0, 100.0]]


# of a file


def written(folder: Path, *rows: Any) -> Path:
    file = folder / "boxes.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file


def test_a_files_boxes_keep_their_order(tmp_path: Path) -> None:
    boxes = [[50, 10, 60, 20.5], [0, 0, 200, 100], [1, 1, 2, 2]]
    propose = proposals_of_file(
        written(tmp_path, {"image": "b.jpg", "boxes": []}, {"image": "a.jpg", "boxes": boxes})
    )
    found = propose(photo(), None)
    assert found.dtype == np.float32
    assert found.tolist() == boxes
    assert propose(photo(path="elsewhere/b.jpg"), None).shape == (0, 4)


def test_a_path_is_asked_before_a_name(tmp_path: Path) -> None:
    """Two folders may hold photos of one name."""
    one, other = [[0, 0, 1, 1]], [[0, 0, 2, 2]]
    propose = proposals_of_file(
        written(tmp_path, {"image": "a.jpg", "boxes": one}, {"image": "x/a.jpg", "boxes": other})
    )
    assert propose(photo(path="x/a.jpg"), None).tolist() == other
    assert propose(photo(path="y/a.jpg"), None).tolist() == one


def test_empty_lines_other_fields_and_strange_names_are_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "boxes.jsonl"
    line = json.dumps({"image": "ü\n.jpg", "boxes": [[0, 0, 1, 1]], "scores": [1]})
    file.write_text(f"\n  \n{line}\r\n\n", encoding="utf-8")
    assert proposals_of_file(file)(photo(path="ü\n.jpg"), None).tolist() == [[0, 0, 1, 1]]


def test_a_pixel_over_the_edge_is_cut_off(tmp_path: Path) -> None:
    """Some count the last pixel's edge, some begin at 1 or -1."""
    boxes = [[-1, -0.5, 201, 101], [10, 10, 200.5, 20]]
    found = proposals_of_file(written(tmp_path, {"image": "a.jpg", "boxes": boxes}))(photo(), None)
    assert found.tolist() == [[0, 0, 200, 100], [10, 10, 200, 20]]


@pytest.mark.parametrize(
    "box",
    [
        *([-1.5, 0, 5, 5], [0, -2, 5, 5], [0, 0, 201.5, 5], [0, 0, 5, 102]),
        *([300, 0, 310, 5], [1e39, 0, 2e39, 5], [0, 0, 1e300, 5]),
        *([5, 5, 5, 9], [5, 5, 9, 5], [9, 5, 5, 9], [200, 0, 201, 5], [-1, 0, 0, 5]),
    ],
)
def test_a_box_that_is_empty_or_outside_is_refused(box: list[float], tmp_path: Path) -> None:
    propose = proposals_of_file(written(tmp_path, {"image": "a.jpg", "boxes": [[0, 0, 1, 1], box]}))
    with pytest.raises(DataError) as caught:
        propose(photo(), None)
    assert str(caught.value) == (
        f"{tmp_path / 'boxes.jsonl'} has boxes that are empty or outside a.jpg, 200 x 100; "
        "give them in the annotation's pixels"
    )


def test_a_photo_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    propose = proposals_of_file(written(tmp_path, {"image": "b.jpg", "boxes": []}))
    with pytest.raises(DataError, match=r"has no boxes for a\.jpg; add a line for it$"):
        propose(photo(), None)


@pytest.mark.parametrize(
    "line",
    [
        *("nothing", "[]", "3", "null", '"image"', "{}", "[" * 100_000),
        *('{"image": "a.jpg"}', '{"boxes": [[0, 0, 1, 1]]}', '{"image": "a.jpg", "boxes": null}'),
        *('{"image": "a.jpg", "boxes": 7}', '{"image": "a.jpg", "boxes": "0 0 1 1"}'),
        '{"image": "a.jpg", "boxes": [0, 0, 1, 1]}',  # a box, not a list of them
        '{"image": "a.jpg", "boxes": [[0, 0, 1, 1], [0, 0, 1]]}',
        '{"image": "a.jpg", "boxes": [[0, 0, 1, 1, 0.5], [0, 0, 1, 1, 0.5], [0, 0, 1, 1, 0.5], '
        "[0, 0, 1, 1, 0.5]]}",  # 20 numbers are no five boxes
        '{"image": "a.jpg", "boxes": [[[0, 0, 1, 1]]]}',
        '{"image": "a.jpg", "boxes": [[0, 0, 1, NaN]]}',
        '{"image": "a.jpg", "boxes": [[0, 0, 1, Infinity]]}',
        '{"image": "a.jpg", "boxes": [[0, 0, 1, "x"]]}',
        '{"image": "a.jpg", "boxes": [[0, 0, 1, 1' + "0" * 400 + "]]}",
    ],
)
def test_a_line_of_another_form_is_named_and_shown_how(line: str, tmp_path: Path) -> None:
    file = tmp_path / "boxes.jsonl"
    file.write_text('{"image": "b.jpg", "boxes": []}\n\n' + line)
    with pytest.raises(DataError) as caught:
        proposals_of_file(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file} line 3: ")
    assert sentence.endswith('; a line looks like {"image": "a.jpg", "boxes": [[0, 0, 10, 10]]}')
    assert "\n" not in sentence


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_no_text_or_not_there_is_refused(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "boxes.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"boxes\.jsonl cannot be read: "):
        proposals_of_file(file)
    with pytest.raises(DataError, match="cannot be read: "):
        proposals_of_file(tmp_path)


# of another network


def test_another_networks_proposals_are_its_final_boxes(tiny_checkpoint: Checkpoint) -> None:
    chance = np.random.default_rng(0)
    image = Image.fromarray(chance.integers(0, 256, (10, 20, 3), dtype=np.uint8)).resize((200, 100))
    describer = Describer(tiny_checkpoint, device="cpu", regions=7)
    found = proposals_of_network(describer)(photo(), image)
    (expected,) = describer.describe([describer.prepare(image)])
    assert 0 < len(found) <= 7
    assert_array_equal(found, expected.boxes)


# of OpenCV


def squares() -> Image.Image:
    """A red and a green rectangle on grey, 160 x 120."""
    image = Image.new("RGB", (160, 120), (40, 40, 40))
    image.paste((220, 40, 40), (30, 20, 90, 80))
    image.paste((40, 220, 40), (110, 50, 150, 110))
    return image


def overlap(box: np.ndarray, other: Box) -> float:
    """Intersection over union."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return shared / (float(sum(areas)) - shared)


def assert_finds_both(found: np.ndarray) -> None:
    assert found.dtype == np.float32
    assert (found[:, :2] < found[:, 2:]).all()
    assert (found >= 0).all()
    assert (found <= [160, 120, 160, 120]).all()
    for square in ((30.0, 20.0, 90.0, 80.0), (110.0, 50.0, 150.0, 110.0)):
        assert max(overlap(box, square) for box in found) > 0.7


def test_selective_search_finds_what_differs_in_colour() -> None:
    pytest.importorskip("cv2.ximgproc")
    found = selective_search(most=50)(photo(), squares())
    assert_finds_both(found)
    assert len(selective_search(most=2)(photo(), squares())) == 2


def test_selective_search_of_one_colour_is_the_whole_photo() -> None:
    pytest.importorskip("cv2.ximgproc")
    found = selective_search(most=50)(photo(), Image.new("RGB", (40, 30), "grey"))
    assert found.tolist() == [[0, 0, 40, 30]]


@pytest.fixture
def edge_model(tmp_path: Path) -> Path:
    """A forest of one tree of one question: whether the brightness changes here at all.

    It looks at the gradient of a patch of 32 x 32 pixels at half size, in its centre: channel 3,
    row 8, column 8 of 16 x 16. If there is one, the four pixels in the middle of the patch are
    edges, in each of the 13 output channels.
    """
    bins = [16 * (16 * channel + y) + x for channel in range(13) for y in (7, 8) for x in (7, 8)]
    options = {
        **{"stride": 2, "shrinkNumber": 2, "patchSize": 32, "patchInnerSize": 16},
        **{"numberOfGradientOrientations": 4, "gradientSmoothingRadius": 0},
        **{"regFeatureSmoothingRadius": 0, "ssFeatureSmoothingRadius": 0},
        **{"gradientNormalizationRadius": 4, "selfsimilarityGridSize": 5},
        **{"numberOfTrees": 1, "numberOfTreesToEvaluate": 1},
    }
    tree = {
        "childs": [2, 0, 0],  # the root's are nodes 1 and 2, which are leaves
        "featureIds": [3 * 256 + 8 * 16 + 8, 0, 0],
        "thresholds": [0.05, 0.0, 0.0],
        "edgeBoundaries": [0, 0, 0, len(bins)],  # node 2 has them all
        "edgeBins": bins,
    }
    lines = [f"   {name}: {value}" for name, value in options.items()]
    lines += [f"{name}: [ {values} ]" for name, values in tree.items()]
    file = tmp_path / "model.yml"
    file.write_text("\n".join(["%YAML:1.0", "---", "options:", *lines, ""]))
    return file


def test_edge_boxes_finds_what_edges_enclose(edge_model: Path) -> None:
    pytest.importorskip("cv2.ximgproc")
    assert_finds_both(edge_boxes(edge_model, most=200)(photo(), squares()))
    best = edge_boxes(edge_model, most=3)(photo(), squares())
    assert best.shape == (3, 4)
    assert overlap(best[0], (30.0, 20.0, 90.0, 80.0)) > 0.7  # the larger one


def test_edge_boxes_of_one_colour_are_none(edge_model: Path) -> None:
    pytest.importorskip("cv2.ximgproc")
    found = edge_boxes(edge_model, most=9)(photo(), Image.new("RGB", (40, 30), "grey"))
    assert found.shape == (0, 4)


def test_proposals_of_one_photo_do_not_depend_on_the_one_before(edge_model: Path) -> None:
    pytest.importorskip("cv2.ximgproc")
    propose = edge_boxes(edge_model, most=9)
    first = propose(photo(), squares())
    propose(photo(), squares().transpose(Image.Transpose.ROTATE_90))
    assert_allclose(propose(photo(), squares()), first)


def test_files_that_are_no_edge_models_are_refused(tmp_path: Path) -> None:
    """In a program of its own: OpenCV can end the one that gives it another file."""
    pytest.importorskip("cv2.ximgproc")
    files = [tmp_path / f"{number}.yml" for number in range(4)]
    contents = ("", "no model", "%YAML:1.0\n---\nother: 1\n", "{}")
    for file, content in zip(files, contents, strict=True):
        file.write_text(content)
    program = (
        "import sys; from pathlib import Path\n"
        "from dcsearch.errors import UsageError\n"
        "from dcsearch.evaluation.proposals import edge_boxes\n"
        "for file in sys.argv[1:]:\n"
        "    try: edge_boxes(Path(file), most=3)\n"
        "    except UsageError as error: print(error)"
    )
    command = [sys.executable, "-c", program, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"{file} is no edge model; give OpenCV's model.yml.gz" for file in files
    ]


def test_an_edge_model_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.evaluation.proposals._opencv", object)
    for missing in (tmp_path / "model.yml", tmp_path):
        with pytest.raises(UsageError, match=r"no edge model at .*; give OpenCV's model\.yml\.gz$"):
            edge_boxes(missing, most=3)


@pytest.mark.parametrize("absent", ["cv2", "cv2.ximgproc"])
@pytest.mark.parametrize(
    "make", [lambda: selective_search(most=3), lambda: edge_boxes(Path("model.yml"), most=3)]
)
def test_without_opencv_or_its_contributed_modules_the_extra_is_named(
    absent: str, make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = type(sys)("cv2")  # as a build without the contributed modules
    monkeypatch.setitem(sys.modules, "cv2", None if absent == "cv2" else without)
    monkeypatch.delitem(sys.modules, "cv2.ximgproc", raising=False)
    with pytest.raises(MissingExtra) as caught:
        make()
    assert str(caught.value) == (
        "proposing boxes by a classical method needs an extra; "
        "install it with: pip install 'dcsearch[eval]'"
    )


def test_lines_of_describe_are_proposals_too(tmp_path: Path) -> None:
    file = tmp_path / "described.jsonl"
    row = {"path": "/photos/a.jpg", "regions": [{"box": [1, 2, 30, 40]}, {"box": [0, 0, 5, 5]}]}
    file.write_text(json.dumps(row) + "\n")
    photo = AnnotatedPhoto(
        path=Path("/photos/a.jpg"), width=100, height=100, regions=(), captions=()
    )
    assert proposals_of_file(file)(photo, None).tolist() == [[1, 2, 30, 40], [0, 0, 5, 5]]
