"""Torch7 files: every kind of value, what is shared, and one sentence for whatever else comes."""

import mmap
import random
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dcsearch.checkpoint.torch7 import Table, Torch7Error, Value, read_torch7
from tests.torch7_fixtures import (
    Object,
    Storage,
    Tensor,
    integer,
    long,
    number,
    tensor,
    text,
    torch7,
)


def table_of(value: Value) -> Table:
    assert isinstance(value, Table)
    return value


def array_of(value: Value) -> np.ndarray:
    assert isinstance(value, np.ndarray)
    return value


def float_storage(index: int, count: int, numbers: bytes) -> bytes:
    return (
        integer(4) + integer(index) + text("V 1") + text("torch.FloatStorage")
        + long(count) + numbers
    )  # fmt: skip


def float_tensor(
    sizes: tuple[int, ...], strides: tuple[int, ...], first: int, storage: bytes
) -> bytes:
    head = integer(4) + integer(1) + text("V 1") + text("torch.FloatTensor") + integer(len(sizes))
    return head + b"".join(long(each) for each in (*sizes, *strides, first)) + storage


FOUR = struct.pack("<4f", 1, 2, 3, 4)


# the format, byte for byte


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (integer(0), None),
        (integer(1) + struct.pack("<d", 2.5), 2.5),
        (integer(2) + integer(5) + b"hello", "hello"),
        (integer(2) + integer(0), ""),
        (integer(2) + integer(3) + "é".encode() + b"\xff", "é\\xff"),
        (integer(5) + integer(1), True),
        (integer(5) + integer(0), False),
        (integer(3) + integer(1) + integer(0), {}),
        (integer(3) + integer(1) + integer(1) + number(1) + integer(2) + text("a"), {1: "a"}),
    ],
)
def test_a_value_is_read_from_its_bytes(content: bytes, value: object) -> None:
    assert read_torch7(content) == value


def test_a_tensor_is_read_from_its_bytes_with_its_first_number_and_strides() -> None:
    content = float_tensor((2, 2), (1, 2), 1, float_storage(2, 4, FOUR))
    assert array_of(read_torch7(content)).tolist() == [[1, 3], [2, 4]]
    content = float_tensor((2,), (2,), 2, float_storage(2, 4, FOUR))
    assert array_of(read_torch7(content)).tolist() == [2, 4]
    content = float_tensor((2, 3), (2, 0), 1, float_storage(2, 4, FOUR))
    assert array_of(read_torch7(content)).tolist() == [[1, 1, 1], [3, 3, 3]]


def test_an_empty_tensor_has_no_numbers_with_a_storage_or_without() -> None:
    assert array_of(read_torch7(float_tensor((), (), 1, integer(0)))).shape == (0,)
    assert array_of(read_torch7(float_tensor((), (), 1, float_storage(2, 0, b"")))).shape == (0,)
    assert array_of(read_torch7(float_tensor((), (), 1, float_storage(2, 4, FOUR)))).size == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Byte", "u1"), ("Char", "i1"), ("Short", "i2"), ("Int", "i4"), ("Long", "i8"),
        ("Half", "f2"), ("Float", "f4"), ("Double", "f8"), ("Cuda", "f4"), ("CudaLong", "i8"),
    ],
)  # fmt: skip
def test_tensors_and_storages_of_every_kind_of_number_are_read(name: str, kind: str) -> None:
    storage = Storage(np.array([3, 1, 2], kind))
    values = table_of(read_torch7(torch7([Tensor(storage, (2,), (1,), 1, kind=name)])))
    assert array_of(values[1]).dtype == np.dtype(kind)
    assert array_of(values[1]).tolist() == [1, 2]
    content = integer(4) + integer(1) + text("V 1") + text(f"torch.{name}Storage") + long(3)
    assert array_of(read_torch7(content + storage.numbers.tobytes())).tolist() == [3, 1, 2]


def test_an_object_is_its_fields_under_the_name_of_its_class() -> None:
    module = Object("nn.Linear", {"train": False, "weight": tensor(np.ones((2, 3), np.float32))})
    linear = table_of(read_torch7(torch7(module)))
    assert linear.typename == "nn.Linear"
    assert linear["train"] is False
    assert array_of(linear["weight"]).shape == (2, 3)


def test_an_object_of_the_oldest_files_has_no_version() -> None:
    content = integer(4) + integer(1) + text("nn.View") + integer(3) + integer(2) + integer(0)
    assert table_of(read_torch7(content)).typename == "nn.View"


def test_what_follows_the_first_value_is_left_alone() -> None:
    assert read_torch7(torch7("all") + b"\x07 more") == "all"


# what is shared


def test_what_was_one_object_is_one_object() -> None:
    shared = {"words": 3}
    module = Object("nn.View", {"opt": shared})
    values = table_of(read_torch7(torch7({"a": module, "b": [module, shared]})))
    first, other = table_of(values["a"]), table_of(values["b"])
    assert other[1] is first
    assert other[2] is first["opt"]
    assert other[2] == {"words": 3}


def test_tensors_are_views_of_one_storage_and_that_of_the_file_itself(tmp_path: Path) -> None:
    storage = Storage(np.arange(6, dtype=np.float32))
    content = torch7([Tensor(storage, (2, 3), (3, 1)), Tensor(storage, (4,), (1,), 2)])
    file = tmp_path / "shared.t7"
    file.write_bytes(content)
    with file.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    values = table_of(read_torch7(mapped))
    matrix, row = array_of(values[1]), array_of(values[2])
    assert matrix.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert row.tolist() == [2, 3, 4, 5]
    assert np.shares_memory(matrix, row)
    assert np.shares_memory(row, np.frombuffer(mapped, np.uint8))
    assert not row.flags.writeable


def test_a_table_that_holds_itself_is_read() -> None:
    cycle: dict[str, object] = {"name": "loop"}
    cycle["self"] = [cycle]
    value = table_of(read_torch7(torch7(cycle)))
    assert table_of(value["self"])[1] is value


def test_tables_within_tables_may_be_as_deep_as_they_like() -> None:
    depth = 20_000
    content = b"".join(
        integer(3) + integer(index) + integer(1) + number(1) for index in range(1, depth + 1)
    )
    value: Value = read_torch7(content + integer(0))
    for _ in range(depth):
        value = table_of(value)[1]
    assert value is None


def test_only_texts_and_numbers_are_kept_as_keys_but_the_others_are_read() -> None:
    node = Object("nngraph.Node", {"id": 7})
    pairs = {True: "yes", node: 1, 2.5: "number", "last": node}
    value = table_of(read_torch7(torch7({"nodes": pairs, "node": node})))
    assert table_of(value["nodes"]) == {2.5: "number", "last": value["node"]}
    assert table_of(value["node"]) == {"id": 7}


# what is refused


def refusal(content: bytes) -> str:
    """The reason for which bytes are refused, at no cost to memory."""
    tracemalloc.start()
    try:
        with pytest.raises(Torch7Error) as caught:
            read_torch7(content)
        assert tracemalloc.get_traced_memory()[1] < len(content) + 100_000
    finally:
        tracemalloc.stop()
    reason = str(caught.value)
    assert "\n" not in reason
    assert len(reason) < 150
    return reason


HUGE = 2**31 - 1
BEYOND = "a tensor reaches beyond its storage"
EARLY = "it ends too early"
NO_CLASS = "it holds an object of no class that can be"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", EARLY),
        (b"\x01\x00", EARLY),
        (integer(1) + b"1234", EARLY),
        (integer(2) + integer(HUGE) + b"a", f"a text of {HUGE:,} bytes cannot be"),
        (integer(2) + integer(9) + b"a", EARLY),
        (integer(2) + integer(-1), EARLY),
        (integer(3) + integer(1) + integer(HUGE), f"a table of {HUGE} pairs cannot be"),
        (integer(3) + integer(1) + integer(-1), "a table of -1 pairs cannot be"),
        (integer(3) + integer(1) + integer(2) + number(1) + integer(0), EARLY),
        (integer(6) + text("code") + integer(0), "it holds a function"),
        (integer(7) + integer(1) + text("code"), "it holds a function"),
        (integer(8) + integer(1) + text("code"), "it holds a function"),
        (integer(9), "it holds a value of kind 9"),
        (b"PK\x03\x04 a zip", "it holds a value of kind 67324752"),
        (
            integer(4) + integer(1) + text("V 1") + text("tds.Hash") + long(1),
            "it holds a tds.Hash, whose form is not known",
        ),
        (integer(4) + integer(1) + text("") + integer(0), "object 1 is used as what it is not"),
        (integer(4) + integer(1) + text("nn\nView"), NO_CLASS),
        (integer(4) + integer(1) + text("V 1") + text("n" * 101), NO_CLASS),
        (float_storage(1, 2**62, FOUR), EARLY),
        (float_storage(1, 2**63 - 1, FOUR), EARLY),
        (float_storage(1, -1, FOUR), EARLY),
        (float_storage(1, 5, FOUR), EARLY),
        (float_tensor((5,), (1,), 1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((4,), (1,), 2, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((2,), (4,), 1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((1,), (1,), 0, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((1,), (1,), -1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((1,), (1,), 2**62, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((2,), (-1,), 2, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((-1,), (1,), 1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((0,), (1,), 1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((2,), (2**62,), 1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((3, 3), (2**62, 1), 1, float_storage(2, 4, FOUR)), BEYOND),
        (float_tensor((1,), (1,), 1, integer(0)), BEYOND),
        (
            float_tensor((2**40, 2**40), (0, 0), 1, float_storage(2, 4, FOUR)),
            f"a tensor of {(2**40, 2**40)} cannot be",
        ),
        (
            integer(4) + integer(1) + text("V 1") + text("torch.FloatTensor") + integer(HUGE),
            f"a tensor of {HUGE} dimensions cannot be",
        ),
        (
            float_tensor((1,), (1,), 1, integer(4) + integer(2) + text("V 1") + text("nn.View")),
            "a nn.View stands where a torch.FloatStorage should",
        ),
        (
            float_tensor((1,), (1,), 1, integer(3) + integer(2) + integer(0)),
            "a tensor has no storage",
        ),
        (float_tensor((1,), (1,), 1, number(1)), "a tensor has no storage"),
    ],
)
def test_bytes_that_cannot_be_are_refused_with_the_reason(content: bytes, reason: str) -> None:
    assert refusal(content) == reason


@pytest.mark.parametrize("other", [integer(3) + integer(2), integer(4) + integer(1)])
def test_an_index_does_not_become_another_kind_of_object(other: bytes) -> None:
    """Object 1 is a table, object 2 a module."""
    module = integer(4) + integer(2) + text("V 1") + text("nn.View")
    content = integer(3) + integer(1) + integer(2) + number(1) + module
    content += integer(3) + integer(3) + integer(0) + number(2) + other
    assert "is used as what it is not" in refusal(content)


def test_a_tensor_takes_no_storage_of_other_numbers() -> None:
    storage = Storage(np.zeros(4))
    values = [Tensor(storage, (1,), (1,), kind="Double"), Tensor(storage, (1,), (1,))]
    assert refusal(torch7(values)) == "object 3 is used as what it is not"


def test_the_pairs_of_all_tables_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcsearch.checkpoint.torch7.MOST_PAIRS", 10)
    content = torch7([list(range(5)), list(range(4))])
    assert refusal(content) == "a table of 4 pairs cannot be"


# fuzz


def specimen() -> bytes:
    """A small file with a value of every kind."""
    storage = Storage(np.arange(12, dtype=np.float32))
    cycle = Object("nngraph.Node", {"id": 1})
    cycle.fields["children"] = {1: cycle, cycle: 1}
    return torch7({
        "weight": Tensor(storage, (2, 3), (3, 1)), "bias": Tensor(storage, (2, 2), (1, 2), 6),
        "empty": Tensor(None, (), ()), "long": tensor(np.arange(3)), "words": ["a", "b", "c"],
        "flags": {"yes": True, "no": False}, "graph": cycle, "iter": 40_000,
    })  # fmt: skip


def arrays(value: Value) -> Iterator[np.ndarray]:
    """Every tensor below a value."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, Table) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values()


def survive(content: bytes) -> bool:
    """Whether bytes are read or refused; all numbers that tensors reach are looked at."""
    try:
        value = read_torch7(content)
    except Torch7Error:
        return False
    for array in arrays(value):
        corners = array[tuple(slice(None, None, max(1, side - 1)) for side in array.shape)]
        assert len((array if array.size < 10_000 else corners).tobytes()) > 0 or array.size == 0
    return True


def test_a_file_that_is_cut_short_anywhere_is_refused() -> None:
    content = specimen()
    assert survive(content)
    for length in range(len(content)):
        with pytest.raises(Torch7Error):
            read_torch7(content[:length])


def test_flipped_bits_are_read_or_refused() -> None:
    content, draw = specimen(), random.Random(0)
    read = 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 1, 3, 10))):
            damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        read += survive(bytes(damaged))
    assert 100 < read < 2900


def test_lies_about_any_size_are_read_or_refused() -> None:
    content = specimen()
    lies = [integer(each) for each in (-1, 0, 1, 3, 4, HUGE, -(2**31))]
    lies += [long(each) for each in (-1, 0, 2, 2**62, 2**63 - 1, 2**40, -(2**63))]
    for lie in lies:
        for at in range(0, len(content) - len(lie)):
            survive(content[:at] + lie + content[at + len(lie) :])


def test_random_bytes_are_read_or_refused() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        kinds = b"".join(integer(draw.randrange(-1, 10)) for _ in range(draw.randrange(40)))
        survive(kinds)
        survive(draw.randbytes(draw.randrange(60)))
