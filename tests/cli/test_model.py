"""`dcsearch model`: models got, listed, chosen, checked, handed on and removed."""

import hashlib
import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from dcsearch.checkpoint.checkpoint import save_checkpoint
from dcsearch.checkpoint.file_hash import read_record
from dcsearch.checkpoint.header import default_checkpoint_path, read_header
from dcsearch.vocabulary import Vocabulary
from indexer.models.collection import Models
from tests.conftest import WORDS, tiny_model
from tests.download_fixtures import serving
from tests.program import Outcome, draw_photos, run
from tests.torch7_fixtures import Sizes, released, released_weights, write_released

Program = Callable[..., Outcome]
ADDED = (
    "tiny: 3.8 MB, 17 words; use it with --model tiny, or in all commands with: "
    "dcsearch model use tiny\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def program(folder: Path) -> Program:
    """The program, with its models in a folder of the test."""

    def started(*arguments: object, **environment: str) -> Outcome:
        return run(*arguments, environment={"DCSEARCH_MODELS": str(folder), **environment})

    return started


@pytest.fixture
def tiny(program: Program, tiny_checkpoint_path: Path) -> str:
    """The name of the tiny network, which has been imported."""
    assert program("model", "import", tiny_checkpoint_path).code == 0
    return "tiny"


def test_a_new_user_has_the_model_that_ships(program: Program, folder: Path) -> None:
    outcome = program("model", "list")
    assert (outcome.code, outcome.stderr) == (0, "")
    sha256 = read_header().sha256
    assert [line.split() for line in outcome.lines] == [
        ["name", "size", "backbone", "words", "sha256", "in", "use"],
        ["default", "19.1", "MB", "mobilenet_v2_pyramid", "3,073", sha256[:12], "yes"],
    ]
    assert not folder.exists()


def test_an_imported_model_is_listed_by_its_name(
    program: Program, folder: Path, tiny_checkpoint_path: Path
) -> None:
    outcome = program("model", "import", tiny_checkpoint_path)
    assert outcome == (0, b"", ADDED)
    found = json.loads(program("model", "list", "--json").stdout)
    assert (found["schema_version"], found["path"]) == (1, str(folder))
    assert found["in_use"] == "default"
    assert [model["name"] for model in found["models"]] == ["default", "tiny"]
    model = found["models"][1]
    header = read_header(tiny_checkpoint_path)
    assert model.items() >= {
        "path": str(folder / "tiny.safetensors"), "bytes": tiny_checkpoint_path.stat().st_size,
        "backbone": "mobilenet_v2", "words": 17, "precision": "float16",
        "sha256": header.sha256, "in_use": False,
    }.items()  # fmt: skip


def test_a_damaged_model_does_not_hide_the_others(
    program: Program, folder: Path, tiny: str
) -> None:
    (folder / "broken.safetensors").write_bytes(b"nothing")
    outcome = program("model", "list")
    assert outcome.code == 0
    names = [line.split()[0] for line in outcome.lines]
    assert names == ["name", "default", "broken", "tiny"]
    sentence = (
        f"{folder / 'broken.safetensors'} is damaged or no checkpoint of dcsearch; name another"
    )
    assert outcome.stderr == f"dcsearch: {sentence}\n"
    listed = json.loads(program("model", "list", "--json").stdout)["models"]
    assert {"name": "broken", "problem": sentence} in listed


def test_what_a_model_is_can_be_read(program: Program, tiny: str, folder: Path) -> None:
    outcome = program("model", "info", tiny)
    assert (outcome.code, outcome.stderr) == (0, "")
    text = outcome.stdout.decode()
    for line in (
        r"name +tiny",
        r"in use +no",
        r"parameters +[\d,]+, kept as float16",
        r"words +17",
        r"terms +none are named inside",
        r"provenance +seed: 0",
        r" +anchor_shapes: 24.0 x 24.0, 48.0 x 48.0, 32.0 x 64.0",
    ):
        assert re.search(rf"^{line} *$", text, re.MULTILINE), line
    found = json.loads(program("model", "info", tiny, "--json").stdout)
    assert found["vocabulary"][1:4] == ["a", "the", "red"]
    assert found["config"]["photo_side"] == 96
    assert found["provenance"] == {"seed": 0}


def test_the_terms_of_a_model_are_shown_if_it_names_them(
    program: Program, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    provenance = {"licence": "CC BY 4.0"}
    save_checkpoint(path, tiny_model(), Vocabulary(WORDS), name="x", provenance=provenance)
    assert re.search(r"terms +CC BY 4\.0", program("model", "info", path).stdout.decode())
    assert json.loads(program("model", "info", path, "--json").stdout)["terms"] == "CC BY 4.0"
    shipped = program("model", "info", "default").stdout.decode()
    assert re.search(r"terms +see the model card, .*default\.md", shipped)


def test_the_authors_file_becomes_a_model(program: Program, tmp_path: Path, folder: Path) -> None:
    source = write_released(tmp_path / "vgg.t7", released(released_weights(Sizes())))
    outcome = program("model", "import", source, "--name", "densecap", "--float16")
    assert outcome.code == 0
    assert re.fullmatch(
        r"densecap: [\d.]+ MB, \d+ words; use it with --model densecap, .*\n", outcome.stderr
    )
    model = json.loads(program("model", "info", "densecap", "--json").stdout)
    assert (model["backbone"], model["precision"]) == ("vgg16", "float16")
    assert model["source"] == str(source)
    assert program("model", "verify", "densecap").code == 0


def test_what_cannot_be_imported_is_one_sentence(
    program: Program, tmp_path: Path, tiny: str, tiny_checkpoint_path: Path
) -> None:
    (tmp_path / "x.t7").write_bytes(b"\3\0\0\0\1\0\0\0\xff\xff\xff\x7f")
    for arguments, code in (
        ([tmp_path / "nowhere.t7"], 4),
        ([tmp_path / "x.t7"], 4),
        ([tmp_path], 4),
        ([tiny_checkpoint_path], 2),
        ([tiny_checkpoint_path, "--name", "../x"], 2),
        ([tiny_checkpoint_path, "--name", "y", "--float16"], 2),
    ):
        outcome = program("model", "import", *arguments)
        assert (outcome.code, outcome.stdout) == (code, b"")
        assert re.fullmatch(r"dcsearch: [^\n]+; [^\n]+\n", outcome.stderr)


def test_every_command_takes_the_name_of_a_model(
    program: Program, tiny: str, tmp_path: Path, folder: Path
) -> None:
    photos, file = draw_photos(tmp_path / "photos", 2), tmp_path / "index.db"
    indexed = program("index", photos, "--db", file, "--model", tiny)
    assert indexed.code == 0
    assert indexed.stderr.endswith(f"ask with: dcsearch query 'a dog' --db {file} --model tiny\n")
    assert program("query", "a dog", "--db", file, "--model", tiny).code == 0
    assert program("query", "a dog", "--db", file, DCSEARCH_MODEL=tiny).code == 0
    assert program("detect", "a dog", photos / "0.jpg", "--model", tiny).code == 0
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT name, provenance FROM model").fetchall()
    connection.close()
    assert rows == [("tiny", '{"seed": 0}')]
    recorded = json.loads(program("status", "--db", file, "--json").stdout)["model"]
    assert recorded["provenance"] == {"seed": 0}

    asked = program("query", "a dog", "--db", file)
    assert asked.code == 3
    assert asked.stderr.endswith(
        "; add --model tiny (or, for all commands: dcsearch model use tiny), name another "
        "index with --db, or describe the photos anew with: dcsearch index --force PHOTOS\n"
    )
    assert "add --model tiny (or" in program("index", photos, "--db", file).stderr
    used = program("model", "use", tiny)
    assert used == (0, b"", "commands now use tiny where --model names none\n")
    assert program("query", "a dog", "--db", file).code == 0
    assert json.loads(program("model", "list", "--json").stdout)["in_use"] == "tiny"
    other = program("query", "a dog", "--db", file, "--model", "default")
    assert other.code == 3
    assert "was made by model 'tiny'" in other.stderr


def test_a_name_that_is_none_is_one_sentence(program: Program, tmp_path: Path) -> None:
    sentence = (
        "dcsearch: no model is called 'vgg', and there is no such file; see: dcsearch model list\n"
    )
    for command in (["query", "a dog", "--model"], ["model", "info"], ["model", "verify"]):
        assert program(*command, "vgg") == (4, b"", sentence)
    assert program("model", "use", "vgg") == (
        4,
        b"",
        "dcsearch: no model is called 'vgg'; see: dcsearch model list\n",
    )
    assert program("model", "use", tmp_path / "x.safetensors").code == 2


def test_a_model_in_use_that_is_gone_is_one_sentence(
    program: Program, folder: Path, tiny: str
) -> None:
    program("model", "use", tiny)
    (folder / "tiny.safetensors").unlink()
    outcome = program("query", "a dog")
    assert outcome.code == 4
    assert outcome.stderr == (
        f"dcsearch: the model in use, 'tiny', is no longer in {folder}; choose another, such as: "
        "dcsearch model use default\n"
    )
    assert program("model", "use", "default").code == 0
    assert program("model", "list").code == 0


def test_a_choice_that_the_environment_hides_is_told(program: Program, tiny: str) -> None:
    outcome = program("model", "use", tiny, DCSEARCH_MODEL="default")
    assert outcome.code == 0
    assert outcome.stderr.splitlines()[1] == (
        "dcsearch: but the environment has DCSEARCH_MODEL, which goes before; unset it"
    )


def test_a_query_for_a_named_model_hashes_no_weights(
    program: Program, tiny: str, tmp_path: Path
) -> None:
    file = tmp_path / "index.db"
    program("index", draw_photos(tmp_path / "photos", 1), "--db", file, "--model", tiny)
    with mock.patch("dcsearch.checkpoint.file_hash.sha256_of_bytes", side_effect=AssertionError):
        assert program("query", "a dog", "--db", file, "--model", tiny).code == 0


def test_verifying_is_a_sentence_for_each_thing(program: Program, folder: Path, tiny: str) -> None:
    outcome = program("model", "verify", tiny)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert [line.split(":")[0] for line in outcome.lines] == ["hash", "shapes", "values"]
    assert json.loads(program("model", "verify", tiny, "--json").stdout)["sound"]
    assert program("model", "verify", default_checkpoint_path()).code == 0
    path = folder / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\x7f")
    changed = program("model", "verify", tiny)
    assert (changed.code, changed.stderr) == (4, "")
    assert changed.lines[0].endswith(
        f"but {read_record(path)['sha256']} was recorded: the file has changed"
    )
    assert changed.lines[1].endswith("has 1 number that is not finite")
    path.write_bytes(path.read_bytes()[:-2])
    cut = program("model", "verify", tiny, "--json")
    assert (cut.code, cut.stdout) == (4, b"")
    assert cut.stderr.count("\n") == 1


def test_an_exported_model_can_be_imported_elsewhere(
    program: Program, tiny: str, tmp_path: Path
) -> None:
    output = tmp_path / "out.safetensors"
    outcome = program("model", "export", tiny, "--output", output)
    assert (outcome.code, outcome.stdout) == (0, b"")
    assert outcome.stderr.endswith("out.safetensors: 3.8 MB\n")
    elsewhere = {"DCSEARCH_MODELS": str(tmp_path / "elsewhere")}
    assert program("model", "import", output, **elsewhere).code == 0
    again = program("model", "export", tiny, "--output", output)
    assert again == (2, b"", f"dcsearch: {output} is there already; replace it with --force\n")
    assert program("model", "export", tiny, "--output", output, "--force").code == 0


def test_onnx_is_written_whole_or_not_at_all(program: Program, tiny: str, tmp_path: Path) -> None:
    output = tmp_path / "tiny.onnx"

    def fails(checkpoint: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def writes(checkpoint: object, part: Path) -> None:
        part.write_bytes(b"whole")

    command = ("model", "export", tiny, "--onnx", "--output", output)
    with mock.patch("dcsearch.checkpoint.onnx.write_onnx", fails):
        outcome = program(*command)
    assert outcome == (
        2, b"", f"dcsearch: {output} cannot be written: No space left on device\n",
    )  # fmt: skip
    assert list(tmp_path.glob("tiny*")) == []
    with mock.patch("dcsearch.checkpoint.onnx.write_onnx", writes):
        assert program(*command).code == 0
    assert output.read_bytes() == b"whole"


def test_a_model_is_removed_by_its_name(program: Program, folder: Path, tiny: str) -> None:
    assert program("model", "remove", tiny) == (0, b"", "tiny is removed\n")
    assert Models(folder).names() == ["default"]
    assert program("model", "remove", "default").code == 2


def test_the_released_model_is_fetched(
    program: Program, folder: Path, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        archive.writestr("densecap-pretrained-vgg16.t7", b"\3\0\0\0\1\0\0\0")

    def import_released(source: Path, target: Path, **options: object) -> None:
        shutil.copyfile(tiny_checkpoint_path, target)

    with (
        serving((tmp_path / "site.zip").read_bytes()) as site,
        mock.patch("dcsearch.checkpoint.released.import_released", import_released),
    ):
        outcome = program("model", "fetch", "densecap-vgg16", "--url", site.url, no_proxy="*")
    assert (outcome.code, outcome.stdout) == (0, b"")
    assert outcome.stderr.splitlines()[0] == f"downloading {site.url}"
    assert outcome.stderr.splitlines()[1].startswith("densecap-vgg16: 3.8 MB, ")
    sha256 = hashlib.sha256((tmp_path / "site.zip").read_bytes()).hexdigest()
    assert outcome.stderr.splitlines()[-1] == f"what came from {site.url} has SHA-256 {sha256}"
    assert Models(folder).names() == ["default", "densecap-vgg16"]


def test_without_a_network_it_is_told_how_to_import_by_hand(program: Program, folder: Path) -> None:
    url = "http://127.0.0.1:1/x.zip"
    outcome = program("model", "fetch", "densecap-vgg16", "--url", url, no_proxy="*")
    assert (outcome.code, outcome.stdout) == (4, b"")
    assert outcome.stderr == (
        f"downloading {url}\n"
        f"dcsearch: {url} cannot be downloaded (connection refused); run the same command again, "
        "which goes on from there, or get the file in another way and: dcsearch model import FILE "
        "--name densecap-vgg16\n"
    )


def test_stopping_a_download_says_how_to_go_on(program: Program) -> None:
    with mock.patch("indexer.models.download.download", side_effect=KeyboardInterrupt):
        outcome = program("model", "fetch", "densecap-vgg16")
    assert outcome.code == 130
    assert outcome.stderr.splitlines()[1] == (
        "dcsearch: interrupted; what has come so far is kept, the same command goes on from there"
    )


def test_only_what_was_released_can_be_fetched(program: Program) -> None:
    assert program("model", "fetch", "gpt") == (
        2, b"", "dcsearch: only densecap-vgg16 can be fetched, not 'gpt'\n",
    )  # fmt: skip
