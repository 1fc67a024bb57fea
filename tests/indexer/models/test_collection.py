"""Models of a folder: taken in, named, chosen, verified, handed on, removed."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import dcsearch.checkpoint.released
from cli import cures
from dcsearch.checkpoint.file_hash import read_record, record_file, sha256_of_bytes
from dcsearch.checkpoint.header import default_checkpoint_path, read_header
from dcsearch.errors import CheckpointError, UsageError
from indexer.models.collection import Models
from indexer.models.source import RELEASED, RELEASED_URL
from indexer.models.verification import Verification
from indexer.store.lock import exclusive
from tests.download_fixtures import Site, serving

# How a Torch7 file begins; the rest is read by checkpoint/released.py, which is tested by itself.
TORCH7 = b"\3\0\0\0\1\0\0\0and more"


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint_path: Path) -> list[dict[str, Any]]:
    """What the reader of the authors' file was asked; it takes all of them for the tiny network."""
    calls: list[dict[str, Any]] = []

    def import_released(source: Path, target: Path, **options: Any) -> None:
        options["on_progress"](1, 2)
        calls.append({"content": source.read_bytes(), "file": source.name, **options})
        shutil.copyfile(tiny_checkpoint_path, target)

    monkeypatch.setattr(dcsearch.checkpoint.released, "import_released", import_released)
    return calls


def archive_of(path: Path, *names: str, content: bytes = TORCH7) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def left(models: Models) -> set[str]:
    return {each.name for each in models.folder.iterdir()} - {"lock"}


VGG = {"vgg.safetensors", "vgg.safetensors.json"}


def refusal(function: Any, *values: Any, **options: Any) -> str:
    """The sentence that an error which the user can mend has."""
    with pytest.raises((UsageError, CheckpointError)) as caught:
        function(*values, **options)
    return cures.sentence(caught.value)


def test_a_folder_that_is_not_there_has_the_model_that_ships(models: Models) -> None:
    assert models.names() == ["default"]
    assert (models.in_use(), models.file_in_use()) == ("default", None)
    assert models.file("default") == default_checkpoint_path()
    assert models.name(default_checkpoint_path()) == "default"
    assert not models.folder.exists()


def test_the_folder_is_the_environments_or_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DCSEARCH_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Models().folder == tmp_path / "dcsearch" / "models"
    monkeypatch.setenv("DCSEARCH_MODELS", str(tmp_path / "mine"))
    assert Models().folder == tmp_path / "mine"


def test_a_checkpoint_is_copied_and_recorded(models: Models, tiny_checkpoint_path: Path) -> None:
    added = models.add(tiny_checkpoint_path, name="vgg")
    path = models.folder / "vgg.safetensors"
    assert path.read_bytes() == tiny_checkpoint_path.read_bytes()
    assert (added.name, added.path, added.in_use) == ("vgg", path, False)
    assert added.bytes == path.stat().st_size
    assert added.source == str(tiny_checkpoint_path)
    assert added.header.sha256 == sha256_of_bytes(path) == read_record(path)["sha256"]
    assert models.names() == ["default", "vgg"]
    assert models.file("vgg") == path
    assert models.name(path) == "vgg"
    assert left(models) == VGG


def test_a_checkpoint_has_its_own_name_if_no_other_is_given(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    assert models.add(tiny_checkpoint_path).name == "tiny"
    assert refusal(models.add, tiny_checkpoint_path) == (
        "there is a model 'tiny' already; choose another name with --name, or remove that one "
        "with: dcsearch model remove tiny"
    )
    assert refusal(models.add, default_checkpoint_path()) == (
        "'default' is the model that ships; choose another name with --name"
    )


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/x", ".x", "-x", "a b", "a\n", "ä", "x.safetensors", "x" * 101],
)
def test_a_name_is_no_path(models: Models, tiny_checkpoint_path: Path, name: str) -> None:
    if name:
        sentence = refusal(models.add, tiny_checkpoint_path, name=name)
        assert "cannot be a model's name" in sentence
    assert "cannot be a model's name" in refusal(models.use, name)
    assert "cannot be a model's name" in refusal(models.remove, name)


def test_a_name_goes_before_a_file_and_a_path_is_a_file(
    models: Models, tiny_checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg").write_bytes(b"")
    assert models.file("vgg") == Path("vgg")
    models.add(tiny_checkpoint_path, name="vgg")
    assert models.file("vgg") == models.folder / "vgg.safetensors"
    assert models.file("./vgg") == Path("vgg")
    assert models.file("vgg.safetensors") == Path("vgg.safetensors")
    assert models.name(Path("vgg.safetensors")) is None
    assert refusal(models.file, "vgh") == (
        "no model is called 'vgh', and there is no such file; see: dcsearch model list"
    )


def test_resolving_a_name_opens_no_file(models: Models, tiny_checkpoint_path: Path) -> None:
    models.add(tiny_checkpoint_path, name="vgg")
    models.use("vgg")
    with mock.patch("builtins.open", side_effect=AssertionError):
        assert models.file("vgg") == models.folder / "vgg.safetensors"


def test_neither_names_nor_hashes_need_torch() -> None:
    code = (
        "import sys; from indexer.models.collection import Models; "
        "models = Models(); models.info(models.file('default')); models.file_in_use(); "
        "sys.exit(' '.join({'torch', 'sqlalchemy', 'urllib.request'} & set(sys.modules)) or 0)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_the_authors_file_is_read_by_its_own_reader(
    models: Models, imported: list[dict[str, Any]], tmp_path: Path
) -> None:
    source = tmp_path / "densecap-pretrained-vgg16.t7"
    source.write_bytes(TORCH7)
    told: list[tuple[str, int, int | None]] = []
    added = models.add(source, on_progress=lambda *progress: told.append(progress))
    assert added.name == "densecap-pretrained-vgg16"
    assert (imported[0]["content"], imported[0]["dtype"]) == (TORCH7, torch.float32)
    assert imported[0]["name"] == added.name
    assert told == [("importing", 1, 2)]
    models.add(source, name="half", precision="float16")
    assert imported[1]["dtype"] == torch.float16


def test_the_authors_zip_is_unpacked(
    models: Models, imported: list[dict[str, Any]], tmp_path: Path
) -> None:
    archive = archive_of(tmp_path / "vgg.t7.zip", "folder/densecap.t7")
    assert models.add(archive).name == "vgg"
    assert (imported[0]["content"], imported[0]["file"]) == (TORCH7, "vgg.t7")
    assert archive.exists()
    assert left(models) == VGG


def test_no_name_in_a_zip_leads_out_of_the_folder(
    models: Models, imported: list[dict[str, Any]], tmp_path: Path
) -> None:
    models.add(archive_of(tmp_path / "vgg.zip", "../../out.t7"))
    assert left(models) == VGG
    assert {each.name for each in tmp_path.iterdir()} == {"models", "vgg.zip"}


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "it holds no .t7 files"),
        (("a.t7", "b.t7"), "it holds 2 .t7 files"),
        (("a.t7",), "Bad CRC-32 for file 'a.t7'"),
    ],
)
def test_a_zip_of_something_else_is_one_sentence(
    models: Models, tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    archive = tmp_path / "vgg.zip"
    with zipfile.ZipFile(archive, "w") as written:  # not packed, so that one byte can be changed
        for name in ("readme", *names):
            written.writestr(name, TORCH7)
    archive.write_bytes(archive.read_bytes().replace(b"a.t7" + TORCH7, b"a.t7" + TORCH7[::-1]))
    assert refusal(models.add, archive) == (
        f"{archive} is no zip of the model ({reason}); get the file again"
    )
    assert left(models) == set()


def test_a_zip_that_does_not_fit_on_the_disk_is_not_unpacked(
    models: Models, tmp_path: Path
) -> None:
    archive = archive_of(tmp_path / "vgg.zip", "a.t7", content=bytes(10**7))
    with mock.patch("shutil.disk_usage", return_value=mock.Mock(free=10**6)):
        sentence = refusal(models.add, archive)
    assert sentence.startswith(f"unpacking {archive} needs 0.0 GB in {models.folder}, where")
    assert left(models) == set()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is neither a checkpoint of dcsearch nor the authors' .t7 or its zip"),
        (b"<!DOCTYPE html>", "is neither a checkpoint of dcsearch nor the authors' .t7 or its zip"),
        (b"\x50\0\0\0\0\0\0\0{nothing", "is damaged or no checkpoint of dcsearch"),
        (b"PK\3\4 and nothing else", "is no zip of the model (File is not a zip file)"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_model_is_one_sentence(
    models: Models, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    source = tmp_path / "vgg"
    if content is not None:
        source.write_bytes(content)
    assert sentence in refusal(models.add, source)
    assert left(models) == set()


def test_a_checkpoint_has_the_precision_that_it_has(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    sentence = refusal(models.add, tiny_checkpoint_path, precision="float32")
    assert sentence == (
        f"{tiny_checkpoint_path} is kept as it is; leave out --float16 and --float32, which are "
        "for the authors' .t7"
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    models = Models(tmp_path / "file" / "models")
    assert models.names() == ["default"]
    assert models.in_use() == "default"
    for change in (lambda: models.add(tiny_checkpoint_path), lambda: models.use("default")):
        assert refusal(change) == (
            f"the models in {models.folder} cannot be changed (Not a directory); mend that, or "
            "name another folder with DCSEARCH_MODELS"
        )


def test_a_full_disk_leaves_nothing_half_done(models: Models, tiny_checkpoint_path: Path) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with mock.patch("shutil.copyfile", full):
        assert "(No space left on device)" in refusal(models.add, tiny_checkpoint_path)
    assert left(models) == set()


def test_one_program_at_a_time_adds_models(models: Models, tiny_checkpoint_path: Path) -> None:
    models.folder.mkdir()
    with exclusive(models.folder / "lock", wait=0.0):
        assert refusal(models.add, tiny_checkpoint_path) == (
            f"another dcsearch is adding to the models in {models.folder}; wait for it"
        )
        models.use("default")


def test_the_model_in_use_is_what_was_chosen_last(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    models.add(tiny_checkpoint_path, name="vgg")
    models.use("vgg")
    assert models.file_in_use() == models.folder / "vgg.safetensors"
    assert models.info(models.file("vgg")).in_use
    models.use("default")
    assert models.file_in_use() is None
    assert refusal(models.use, "x") == "no model is called 'x'; see: dcsearch model list"
    assert models.in_use() == "default"


def test_a_choice_that_cannot_be_followed_is_one_sentence(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    models.add(tiny_checkpoint_path, name="vgg")
    models.use("vgg")
    (models.folder / "vgg.safetensors").unlink()
    assert refusal(models.file_in_use) == (
        f"the model in use, 'vgg', is no longer in {models.folder}; choose another, such as: "
        "dcsearch model use default"
    )
    for nonsense in (b"", b"../x\n", b"\xff"):
        (models.folder / "in-use").write_bytes(nonsense)
        assert refusal(models.file_in_use) == (
            f"{models.folder / 'in-use'} names no model; choose another, such as: dcsearch model "
            "use default"
        )
    models.use("default")
    assert models.file_in_use() is None


def test_a_model_is_removed_with_its_record(models: Models, tiny_checkpoint_path: Path) -> None:
    models.add(tiny_checkpoint_path, name="vgg")
    models.use("vgg")
    assert refusal(models.remove, "vgg") == (
        "the model 'vgg' is in use; choose another, such as: dcsearch model use default"
    )
    models.use("default")
    models.remove("vgg")
    assert left(models) == {"in-use"}
    assert refusal(models.remove, "vgg") == "no model is called 'vgg'; see: dcsearch model list"
    assert "is the model that ships" in refusal(models.remove, "default")


def test_a_sound_model_is_verified_in_three_sentences(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    path = models.add(tiny_checkpoint_path, name="vgg").path
    sha256 = read_header(path).sha256
    sentences = (
        f"hash: {sha256}, as recorded",
        "shapes: all 346 tensors are those of its network",
        "values: all numbers are finite",
    )
    assert models.verify(path) == Verification(sound=True, sha256=sha256, sentences=sentences)


def test_verifying_renews_a_record_whose_date_is_old(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    path = models.add(tiny_checkpoint_path, name="vgg").path
    os.utime(path, ns=(1, 1))
    models.verify(path)
    record = read_record(path)
    assert record["mtime_ns"] == 1
    assert record["source"] == str(tiny_checkpoint_path)


def test_a_file_put_there_by_hand_is_recorded_when_it_is_verified(
    models: Models, tiny_checkpoint_path: Path
) -> None:
    models.folder.mkdir()
    path = models.folder / "vgg.safetensors"
    shutil.copyfile(tiny_checkpoint_path, path)
    assert models.names() == ["default", "vgg"]
    found = models.verify(path)
    assert found.sound
    assert found.sentences[0].endswith("; none was recorded to compare it with")
    assert models.verify(path).sentences[0].endswith(", as recorded")
    models.verify(tiny_checkpoint_path)
    assert not record_file(tiny_checkpoint_path).exists()  # it is no model of the folder


def test_a_model_that_has_changed_is_not_sound(models: Models, tiny_checkpoint_path: Path) -> None:
    path = models.add(tiny_checkpoint_path, name="vgg").path
    recorded, content = read_header(path).sha256, bytearray(path.read_bytes())
    content[-2:] = b"\xff\x7f"  # the last number becomes none
    path.write_bytes(content)
    found = models.verify(path)
    assert not found.sound
    assert found.sentences[0] == (
        f"hash: {sha256_of_bytes(path)}, but {recorded} was recorded: the file has changed"
    )
    assert found.sentences[1].startswith("value: ")
    assert found.sentences[1].endswith(" has 1 number that is not finite")
    assert read_record(path)["sha256"] == recorded


def test_an_exported_model_is_the_same_file(
    models: Models, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    path = models.add(tiny_checkpoint_path, name="vgg").path
    output = tmp_path / "out.safetensors"
    models.export(path, output)
    assert output.read_bytes() == path.read_bytes()
    content, stamp = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1  # unnoticed by size and date
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert refusal(models.export, path, tmp_path / "again.safetensors") == (
        f"{path} is not what was recorded of it; see: dcsearch model verify {path}"
    )
    assert not list(tmp_path.glob("again*"))
    missing = tmp_path / "nowhere" / "x"
    sentence = refusal(models.export, tiny_checkpoint_path, missing)
    assert sentence == f"{missing} cannot be written: No such file or directory"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    content = archive_of(tmp_path / "site.zip", "x/densecap-pretrained-vgg16.t7").read_bytes()
    with serving(content) as site:
        yield site


def test_the_released_model_is_fetched(
    models: Models, imported: list[dict[str, Any]], site: Site
) -> None:
    told: list[tuple[str, int, int | None]] = []
    model = models.fetch(url=site.url, on_progress=lambda *progress: told.append(progress))
    assert (model.name, model.source) == (RELEASED, site.url)
    assert imported[0]["content"] == TORCH7
    assert left(models) == {f"{RELEASED}.safetensors", f"{RELEASED}.safetensors.json"}
    assert list(dict.fromkeys(what for what, _, _ in told)) == [
        *("downloading", "unpacking", "importing"),
    ]
    assert "there is a model 'densecap-vgg16' already" in refusal(models.fetch, url=site.url)
    assert len(site.asked) == 1


def test_fetching_goes_on_where_it_was_interrupted(
    models: Models, imported: list[dict[str, Any]], site: Site
) -> None:
    site.ranges, site.cuts = False, [20, 20]
    assert refusal(models.fetch, url=site.url) == (
        f"{site.url} cannot be downloaded (it broke off after 20 of {len(site.content)} bytes); "
        "run the same command again, which goes on from there, or get the file in another way "
        "and: dcsearch model import FILE --name densecap-vgg16"
    )
    site.ranges = True
    models.fetch(url=site.url)
    assert site.asked == [None, "bytes=20-", "bytes=20-"]


def test_a_download_that_is_no_zip_is_removed(models: Models, site: Site) -> None:
    whole, site.content = site.content, b"<html>Log in to the network of this hotel</html>"
    sentence = refusal(models.fetch, url=site.url)
    assert sentence == (
        f"what came from {site.url} was no zip of the model (File is not a zip file) and is "
        "removed; run the same command again, or name another address with --url"
    )
    assert left(models) == set()
    site.content = whole[:64] + bytes([whole[64] ^ 8]) + whole[65:]
    assert "was no zip of the model" in refusal(models.fetch, url=site.url)
    assert left(models) == set()


def test_a_download_that_cannot_be_imported_is_kept_for_the_next_time(
    models: Models, imported: list[dict[str, Any]], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        error = CheckpointError("it is not the authors' network; name their file")
        patch.setattr(dcsearch.checkpoint.released, "import_released", mock.Mock(side_effect=error))
        assert refusal(models.fetch, url=site.url) == str(error)
    assert left(models) == {f"{RELEASED}.zip"}
    models.fetch(url=site.url)
    assert len(site.asked) == 1


def test_a_model_is_known_by_its_hash(models: Models, tiny_checkpoint_path: Path) -> None:
    sha256 = read_header(tiny_checkpoint_path).sha256
    assert models.name_of_hash(sha256) is None
    models.add(tiny_checkpoint_path, name="vgg")
    assert models.name_of_hash(sha256) == "vgg"
    assert models.name_of_hash(read_header().sha256) == "default"


def test_the_published_address_is_the_authors() -> None:
    assert json.dumps(RELEASED_URL) == (
        '"http://cs.stanford.edu/people/jcjohns/densecap/densecap-pretrained-vgg16.t7.zip"'
    )
