"""Configs and presets: read without torch, by one name for each number."""

import dataclasses
import json
import subprocess
import sys
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcsearch.model import presets
from dcsearch.model.backbone_kinds import BACKBONES, backbone_kind
from dcsearch.model.config import PARTS, FCLNConfig
from tests.conftest import tiny_config
from tests.strategies import JSON


@pytest.mark.parametrize(
    "module",
    ["dcsearch.model.config", "dcsearch.model.presets", "dcsearch.checkpoint.header"],
)
def test_configs_presets_and_headers_are_read_without_torch(module: str) -> None:
    program = f"import sys, {module}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "False"), run.stderr


def test_no_name_is_in_two_parts() -> None:
    names = [field.name for part in PARTS.values() for field in dataclasses.fields(part)]
    names += ["method", "initialisation"]
    assert len(names) == len(set(names)) == 56
    assert set(presets.small().to_json()) == set(names)


def test_a_replaced_value_is_found_in_its_part_and_nothing_else_changes() -> None:
    small = presets.small()
    other = small.replace(grid=5, embedding_size=0, method="full_image_rnn")
    assert (other.localization.grid, other.embedding.embedding_size) == (5, 0)
    assert other.method == "full_image_rnn"
    assert other.replace(grid=7, embedding_size=128, method="fcln") == small
    assert small == presets.small()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(TypeError, match="no field 'colour'"):
        presets.small().replace(colour="blue")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_checks_itself(part: str) -> None:
    """By its own: a part with a wrong value cannot be made."""
    own = getattr(presets.small(), part)
    field = dataclasses.fields(own)[0].name
    with pytest.raises(ValueError, match=f"^{field} cannot be "):
        dataclasses.replace(own, **{field: () if field == "anchor_shapes" else -1})


def test_anchors_that_do_not_fit_the_maps_are_refused() -> None:
    """Fifteen shapes can be shared by one map or five, not by four."""
    with pytest.raises(ValueError, match=r"^anchor_shapes cannot be "):
        presets.small().replace(backbone="efficientnet_lite2")


@pytest.mark.parametrize("name", presets.NETWORKS)
def test_presets_are_found_by_their_names_and_survive_json(name: str) -> None:
    config = presets.NETWORKS[name]()
    assert FCLNConfig.from_json(config.to_json()) == config
    assert config.features.levels == BACKBONES[config.features.backbone].levels


@pytest.mark.parametrize("name", ["resnet", "", None, 3, "timm"])
def test_a_backbone_that_is_none_has_no_kind(name: object) -> None:
    assert backbone_kind(name) is None


def test_any_network_of_timm_stands_under_the_pyramid() -> None:
    assert backbone_kind("timm:mobilenetv3_small_100") == BACKBONES["efficientnet_lite2"]


@pytest.mark.parametrize(
    "config", [presets.reference(), presets.paper(), presets.small(), tiny_config()]
)
def test_a_config_survives_json(config: FCLNConfig) -> None:
    assert FCLNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def fitting(field: "dataclasses.Field[Any]") -> st.SearchStrategy[Any]:
    """Values that a field may have."""
    if get_origin(field.type) is Literal:
        return st.sampled_from(get_args(field.type))
    if field.name.endswith("_weight"):
        return st.floats(0, allow_infinity=False) | st.integers(0, 10)
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(1, 1_000_000),
        float: st.floats(0, 1) | st.integers(0, 1),
    }
    return kinds[field.type]


SIDES = st.floats(0, exclude_min=True, allow_infinity=False) | st.integers(1, 10**30)
OWN = {
    "backbone": st.sampled_from([name for name, kind in BACKBONES.items() if kind.levels == 1]),
    "anchor_shapes": st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4).map(tuple),
    "objectness_logits": st.sampled_from([1, 2]),
    "crop_side": st.integers(1, 30).map(lambda cells: 32 * cells),
    "joint_inference": st.just(False),  # which not every method allows
}
FIELDS = {
    field.name: OWN[field.name] if field.name in OWN else fitting(field)
    for part in (FCLNConfig, *PARTS.values())
    for field in dataclasses.fields(part)
    if field.name not in PARTS
}


@given(st.fixed_dictionaries(FIELDS))
def test_any_config_survives_json(values: dict[str, Any]) -> None:
    config = FCLNConfig.of(**values)
    assert config.values() == values
    assert FCLNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, min_size=1, max_size=3)
    | st.sampled_from(sorted(FIELDS)).flatmap(
        lambda name: st.fixed_dictionaries({name: FIELDS[name] | st.just(10**400)})
    ),
    st.dictionaries(st.text(), JSON, max_size=1),
)
def test_any_json_whatever_is_a_config_or_refused(
    changes: dict[str, Any], unknown: dict[str, Any]
) -> None:
    values = {**presets.small().to_json(), **changes, **unknown}
    try:
        config = FCLNConfig.from_json(json.loads(json.dumps(values)))
    except (TypeError, ValueError):
        return
    assert FCLNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_config_with_a_field_too_many_or_too_few_is_refused() -> None:
    values = presets.small().to_json()
    with pytest.raises(TypeError, match="colour"):
        FCLNConfig.from_json({**values, "colour": "blue"})
    del values["grid"]
    with pytest.raises(TypeError, match="grid"):
        FCLNConfig.from_json(values)


def test_a_config_from_before_the_embedding_has_none() -> None:
    values = presets.small().to_json()
    for name in ("embedding_size", "contrast_weight", "normaliser_weight"):
        del values[name]
    config = FCLNConfig.from_json(values)
    assert (
        config.embedding.embedding_size,
        config.objective.contrast_weight,
        config.objective.normaliser_weight,
    ) == (0, 0, 0)


def test_a_config_from_before_the_reference_code_was_followed_stays_what_it_was() -> None:
    """Its fields have defaults that change nothing of an older network."""
    values = presets.small().to_json()
    added = {
        "inclusive_pixels": False, "ceil_pooling": True, "objectness_logits": 1, "null_word": False,
        "says_unknown": False, "initialisation": "he", "reference_training": False,
        "caption_mean": "words", "pull_weight": 0.0, "context": "none",
    }  # fmt: skip
    assert {name: values.pop(name) for name in added} == added
    assert FCLNConfig.from_json(values) == presets.small()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("objectness_logits", value) for value in (0, 3, True, 2.0)),
        *(("initialisation", value) for value in ("", "he ", None, ["he"])),
        *[
            ("caption_mean", "median"),
            ("null_word", 1),
            ("pull_weight", -1e-9),
            ("pull_weight", 10**400),
        ],
    ],
)
def test_a_choice_that_is_none_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} cannot be "):
        presets.reference().replace(**{field: value})  # type: ignore[arg-type]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.small().localization.grid = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("config", "photo", "size"),
    [
        (presets.paper(), (720, 540), (720, 540)),
        (presets.paper(), (1440, 1080), (720, 540)),
        (presets.paper(), (300, 600), (360, 720)),  # small photos are enlarged
        (presets.small(), (640, 480), (384, 288)),
        (presets.small(), (480, 640), (288, 384)),
        (presets.small(), (500, 333), (384, 256)),
        (presets.small(), (1, 1), (384, 384)),
        (presets.small(), (10_000, 20), (384, 128)),  # not thinner than four multiples
        (presets.small(), (20, 10_000), (128, 384)),
        (presets.paper(), (10_000, 20), (720, 16)),
        (presets.reference(), (10_000, 20), (720, 16)),
        (presets.reference(), (500, 333), (720, 479)),  # 479.52
        (presets.reference(), (334, 500), (480, 720)),  # 480.96, rounded down
        (presets.reference(), (1023, 682), (720, 480)),  # 480 exactly
    ],
)
def test_the_size_at_which_the_network_sees_a_photo(
    config: FCLNConfig, photo: tuple[int, int], size: tuple[int, int]
) -> None:
    assert config.features.photo_size(*photo) == size
