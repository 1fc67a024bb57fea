"""`dcsearch train`: options reach the training loop, and it ends well however it ends."""

import dataclasses
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dcsearch.checkpoint.header import read_header
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.training.options import TrainingOptions
from dcsearch.training.progress import TrainingProgress
from dcsearch.training.refine import RefiningProgress
from dcsearch.training.splits import WeightedData
from tests.conftest import tiny_config
from tests.program import run

Train = Callable[..., Path]


class Trained:
    """A stand-in for the training loop: remembers what it was given."""

    def __init__(self, end: BaseException | None = None) -> None:
        self.end = end
        self.stops = self.silent = False
        self.given: dict[str, Any] = {}

    def __call__(
        self,
        data: Sequence[WeightedData],
        output: Path,
        options: TrainingOptions,
        *,
        resume: bool,
        on_progress: Callable[[TrainingProgress], None],
        on_refining: Callable[[RefiningProgress], None],
    ) -> Path:
        self.given = {"data": list(data), "output": output, "options": options, "resume": resume}
        steps = ((10, None), (20, {"localization": 0.5}))
        for step, validation in () if self.silent else steps:
            on_progress(
                TrainingProgress(
                    step=step,
                    steps=20,
                    epoch=step / 10,
                    loss=3.14159,
                    seconds_per_step=0.5,
                    seconds_left=4000.0,
                    validation=validation,
                    best_step=10 if self.stops and validation else 0,
                    ended_early=self.stops and validation is not None,
                )
            )
        if options.refining:
            losses = {"caption": 2.0}
            on_refining(RefiningProgress(stage="refining", done=25, of=50, losses=losses))
        if isinstance(self.end, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if self.end is not None:
            raise self.end
        return output / "model.safetensors"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    stand_in = Trained()
    monkeypatch.setattr("dcsearch.training.loop.train", stand_in)
    return stand_in


def test_without_options_the_defaults_are_those_of_the_loop(trained: Trained) -> None:
    outcome = run("train", "data", "--output", "runs/mine")
    assert outcome.code == 0
    assert outcome.stdout == b""
    assert trained.given == {
        "data": [WeightedData(path=Path("data"))],
        "output": Path("runs/mine"),
        "options": TrainingOptions(),
        "resume": False,
    }


def test_every_option_reaches_the_loop(trained: Trained) -> None:
    run(
        *("train", "data", "-o", "run", "--network", "reference", "--backbone-weights", "w.st"),
        *("--limit", "9", "--from-scratch", "--word-count", "2", "--patience", "4"),
        *("--stop-by", "map", "--parts", "2", "--vary", "flips", "--backbone-after", "0.5"),
        *("--backbone-momentum", "0.8", "--constant", "--proposals", "boxes.jsonl"),
        *("--recognition-rate", "0.002", "--validation-photos", "50"),
        *("--freeze", "3", "--steps", "20", "--batch-size", "4", "--learning-rate", "0.01"),
        *("--backbone-rate", "0.001", "--weight-decay", "0.5", "--warm-up", "7", "--float32"),
        *("--validate-every", "5", "--checkpoint-minutes", "1.5", "--workers", "0"),
        *("--photo-side", "512", "--context", "sum", "--joint-inference"),
        *("--seed", "11", "--name", "mine", "--device", "cpu", "--resume"),
    )
    assert trained.given["options"] == dataclasses.replace(
        TrainingOptions(),
        config=presets.reference().replace(photo_side=512, context="sum", joint_inference=True),
        limit=9,
        pretrained=False,
        word_count=2,
        patience=4,
        stop_by="mAP",
        parts=2,
        variation="flips",
        backbone_after=0.5,
        backbone_momentum=0.8,
        cosine=False,
        proposals=Path("boxes.jsonl"),
        recognition_learning_rate=0.002,
        validation_photos=50,
        backbone_weights=Path("w.st"),
        backbone_blocks_frozen=3,
        steps=20,
        batch_size=4,
        learning_rate=0.01,
        backbone_learning_rate=0.001,
        weight_decay=0.5,
        warm_up=7,
        bfloat16=False,
        validate_every=5,
        checkpoint_minutes=1.5,
        workers=0,
        seed=11,
        name="mine",
        device="cpu",
    )
    assert trained.given["resume"] is True


@pytest.mark.parametrize(
    ("preset", "recipe", "plan"),
    [
        ("default", TrainingOptions.shipped, "small network, 3,600 steps of 16 photos"),
        ("paper", TrainingOptions.paper, "paper network, 860,000 steps of 1 photos"),
        ("modern", TrainingOptions.modern, "paper network, 48,000 steps of 16 photos"),
    ],
)
def test_a_preset_is_a_recipe(
    preset: str, recipe: Callable[[], TrainingOptions], plan: str, trained: Trained
) -> None:
    outcome = run("train", "data", "--output", "run", "--preset", preset)
    assert outcome.code == 0
    assert trained.given["options"] == recipe()
    assert outcome.stderr.startswith(f"the {plan}, learning rate ")
    refines = "step 25 of 50  caption 2.000"
    assert (refines in outcome.stderr.splitlines()) is (preset == "default")


def test_other_options_change_a_preset(trained: Trained) -> None:
    run(
        *("train", "data", "--output", "run", "--preset", "modern", "--network", "small"),
        *("--tensorflow-padding", "--float32", "--patience", "0", "--cosine", "--warm-up", "0"),
        *("--stop-by", "localization", "--vary", "none"),
    )
    assert trained.given["options"] == dataclasses.replace(
        TrainingOptions.modern(),
        config=presets.small(tensorflow_padding=True),
        bfloat16=False,
        patience=0,
        warm_up=0,
        stop_by="localization",
        variation="none",
    )


def test_a_preset_s_own_network_may_have_tensorflow_s_padding(trained: Trained) -> None:
    run("train", "data", "--output", "run", "--tensorflow-padding")
    assert trained.given["options"].config == presets.small(tensorflow_padding=True)


@pytest.mark.parametrize(
    ("network", "config"),
    [
        ("small", presets.small),
        ("paper", presets.paper),
        ("reference", presets.reference),
        ("region-rnn", presets.region_rnn),
        ("full-image-rnn", presets.full_image_rnn),
        ("resnet50-fpn", presets.resnet50_fpn),
    ],
)
def test_every_network_can_be_trained(
    network: str, config: Callable[[], FCLNConfig], trained: Trained
) -> None:
    outcome = run("train", "data", "--output", "run", "--network", network)
    assert trained.given["options"] == TrainingOptions(config=config())
    assert outcome.stderr.startswith(f"the {network} network, 2,800 steps ")


@pytest.mark.parametrize("network", ["region-rnn", "full-image-rnn"])
def test_a_baseline_cannot_have_joint_inference(network: str, trained: Trained) -> None:
    outcome = run("train", "data", "-o", "run", "--network", network, "--joint-inference")
    assert outcome.code == 2
    assert outcome.stderr == (
        "dcsearch: a baseline of the paper moves no box; leave out --joint-inference, or choose "
        "another network\n"
    )
    assert not trained.given


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, ()),
        ({"photo_side": 128}, ("--photo-side", "128")),
        ({"context": "sum"}, ("--context", "sum")),
        ({}, ("--context", "none")),
        ({"joint_inference": True}, ("--joint-inference",)),
        ({}, ("--no-joint-inference",)),
    ],
)
def test_a_model_to_start_with_brings_its_network(
    changes: dict[str, Any],
    arguments: tuple[str, ...],
    trained: Trained,
    tiny_checkpoint_path: Path,
) -> None:
    outcome = run("train", "data", "--output", "run", "--start", tiny_checkpoint_path, *arguments)
    assert trained.given["options"] == TrainingOptions(
        start=tiny_checkpoint_path, config=tiny_config().replace(**changes)
    )
    assert outcome.stderr.startswith("the network of ")
    assert "tiny.safetensors, 2,800 steps of 16 photos, " in outcome.stderr


def test_a_network_may_start_with_what_fits_of_a_model(
    trained: Trained, tiny_checkpoint_path: Path
) -> None:
    run(
        *("train", "data", "--output", "run", "--start", tiny_checkpoint_path),
        *("--network", "efficientnet-lite", "--backbone-weights", "w.st", "--word-count", "2"),
    )
    assert trained.given["options"] == TrainingOptions(
        config=presets.efficientnet_lite(),
        start=tiny_checkpoint_path,
        start_fitting=True,
        backbone_weights=Path("w.st"),
        word_count=2,
    )


def test_options_of_views_maps_and_rarity_reach_the_loop(trained: Trained) -> None:
    run(
        *("train", "data", "-o", "run", "--vary", "widely", "--views", "3", "--rare", "0.02"),
        *("--feature-cache", "maps", "--network", "efficientnet-lite", "--photo-side", "672"),
        *("--backbone", "timm:resnet10t"),
    )
    assert trained.given["options"] == TrainingOptions(
        config=presets.efficientnet_lite().at_side(672).replace(backbone="timm:resnet10t"),
        variation="widely",
        views=3,
        rare=0.02,
        feature_cache=Path("maps"),
    )


@pytest.mark.parametrize("network", [(), ("--network", "small"), ("--network", "resnet50-fpn")])
def test_another_backbone_needs_its_pyramid(network: tuple[str, ...], trained: Trained) -> None:
    outcome = run("train", "data", "-o", "run", "--backbone", "timm:resnet10t", *network)
    assert (outcome.code, outcome.stderr) == (
        2,
        "dcsearch: --backbone needs --network efficientnet-lite, whose pyramid it feeds\n",
    )
    assert not trained.given


def test_data_may_be_several_with_weights(trained: Trained, tmp_path: Path) -> None:
    coloned = tmp_path / "photos:2"
    coloned.mkdir()
    names = ["a", "b:0.5", "c:2e-1", "d:e", "e:", ":3", f"{coloned}", f"{coloned}:0.25"]
    outcome = run("train", *names, "--output", "run")
    assert trained.given["data"] == [
        WeightedData(path=Path("a")),
        WeightedData(path=Path("b"), weight=0.5),
        WeightedData(path=Path("c"), weight=0.2),
        WeightedData(path=Path("d:e")),
        WeightedData(path=Path("e:")),
        WeightedData(path=Path(":3")),
        WeightedData(path=coloned),
        WeightedData(path=coloned, weight=0.25),
    ]
    assert "evaluate retrieval a --model" in outcome.stderr


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "-0.0"])
def test_a_weight_is_a_number_above_zero(weight: str, trained: Trained) -> None:
    outcome = run("train", "a", f"b:{weight}", "--output", "run")
    assert (outcome.code, outcome.stderr) == (
        2,
        f"dcsearch: the weight of 'b:{weight}' must be a number above 0, as in b:0.5\n",
    )
    assert not trained.given


def test_to_start_with_default_is_to_start_with_the_weights_that_ship(trained: Trained) -> None:
    run("train", "data", "--output", "run", "--start", "default", "--preset", "modern")
    options = trained.given["options"]
    shipped = read_header()
    assert options.start == shipped.path
    kept = {name: shipped.recorded_config.get(name, 0) for name in ("landmarks", "probes")}
    known = {**options.config.to_json(), **kept}
    assert FCLNConfig.from_json(known) == FCLNConfig.from_json(shipped.recorded_config)
    assert options.steps == TrainingOptions.modern().steps


def test_of_a_model_to_start_with_another_network_takes_what_fits(
    trained: Trained, tiny_checkpoint_path: Path
) -> None:
    run("train", "data", "-o", "run", "--start", tiny_checkpoint_path, "--network", "paper")
    assert trained.given["options"] == TrainingOptions(
        start=tiny_checkpoint_path, start_fitting=True, config=presets.paper()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ("default", "--from-scratch", "--backbone-weights", "w.st", "--word-count", "1"),
            2,
            "--start brings the network, its words and weights; leave out --backbone-weights and "
            "--from-scratch and --word-count",
        ),
        (
            ("default", "--tensorflow-padding"),
            2,
            "--start brings the network, its words and weights; leave out --tensorflow-padding",
        ),
        (
            ("nowhere",),
            4,
            "no model is called 'nowhere', and there is no such file; see: dcsearch model list",
        ),
        (
            ("no/where.safetensors",),
            4,
            "no checkpoint at no/where.safetensors; name a .safetensors file made by: "
            "dcsearch train",
        ),
    ],
)
def test_what_cannot_be_started_with_is_one_sentence(
    arguments: tuple[str, ...], code: int, sentence: str, trained: Trained
) -> None:
    outcome = run("train", "data", "--output", "run", "--start", *arguments)
    assert (outcome.code, outcome.stderr) == (code, f"dcsearch: {sentence}\n")
    assert trained.given == {}


def test_an_early_end_is_told_with_the_step_that_is_kept(trained: Trained) -> None:
    trained.stops = True
    outcome = run("train", "data", "--output", "run", "--patience", "1")
    assert outcome.stderr.splitlines()[2:4] == [
        "step 20 of 20  epoch 2.0  loss 3.142  0.50 s/step  1:07 h left  localization 0.500  "
        "best at step 10",
        "no validation was better than that of step 10; it is kept",
    ]


@pytest.mark.parametrize("end", [None, KeyboardInterrupt()])
def test_of_torchrun_s_processes_only_the_first_speaks(
    end: BaseException | None, trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RANK", "1")
    trained.end, trained.silent = end, True  # the loop reports in the first alone
    outcome = run("train", "data", "--output", tmp_path)
    assert (outcome.code, outcome.stderr) == (130 if end else 0, "")


def test_without_a_terminal_progress_is_lines(trained: Trained) -> None:
    outcome = run("train", "my data", "--output", "run", "--steps", "20")
    first, *lines = outcome.stderr.splitlines()
    assert first.startswith("the small network, 20 steps of 16 photos, learning rate ")
    assert first.endswith(", into run")
    assert lines == [
        "step 10 of 20  epoch 1.0  loss 3.142  0.50 s/step  1:07 h left",
        "step 20 of 20  epoch 2.0  loss 3.142  0.50 s/step  1:07 h left  localization 0.500",
        "trained; measure it with: dcsearch evaluate retrieval 'my data' --model "
        "run/model.safetensors",
    ]


def test_at_a_terminal_progress_is_a_bar(trained: Trained) -> None:
    outcome = run("train", "data", "--output", "run", "--steps", "20", terminal=True)
    assert "20/20" in outcome.stderr
    assert "step 10 of 20" not in outcome.stderr
    assert "step 20 of 20" in outcome.stderr


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        (True, "interrupted; the run is saved, go on with the same command and --resume"),
        (False, "interrupted before the first step; start again with the same command"),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    trained: Trained, tmp_path: Path, saved: bool, sentence: str
) -> None:
    trained.end = KeyboardInterrupt()
    if saved:
        (tmp_path / "state.pt").touch()
    outcome = run("train", "data", "--output", tmp_path)
    assert outcome.code == 130
    assert outcome.stderr.splitlines()[-1] == f"dcsearch: {sentence}"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            FloatingPointError("the loss became nan at step 12"),
            "the loss became nan at step 12; start anew in another folder with a smaller "
            "--learning-rate",
        ),
        (
            OSError(28, "No space left on device"),
            "the run in run cannot go on: no space left on device; mend that, and go on with the "
            "same command and --resume",
        ),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    trained: Trained, error: Exception, sentence: str
) -> None:
    trained.end = error
    outcome = run("train", "data", "--output", "run")
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-1] == f"dcsearch: {sentence}"


def test_data_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    outcome = run("train", tmp_path / "none", "--output", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[1:] == [
        f"dcsearch: no such file: {tmp_path}/none; it should hold one JSON object a photo"
    ]


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(
        '{"image": "a.jpg", "width": 9, "height": 9, '
        '"regions": [{"box": [1, 1, 5, 5], "phrases": ["a dog"]}]}\n'
    )
    outcome = run("train", tmp_path, "--output", tmp_path / "run", "--resume")
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[1:] == [
        f"dcsearch: no training run in {tmp_path}/run to resume; start it without --resume"
    ]
