"""The paper's figures, read off its printed tables."""

from dcsearch.evaluation.published import caption_rows, retrieval_rows


def figures(name: str) -> dict[str, float]:
    (row,) = (row for row in (*retrieval_rows(), *caption_rows()) if row.name == name)
    assert row.published
    assert all(measure.deviation is None for measure in row.values.values())
    return {column: measure.value for column, measure in row.values.items()}


def test_the_fcln_of_table_2() -> None:
    assert figures("FCLN") == {
        "R@1": 0.27,
        "R@5": 0.53,
        "R@10": 0.67,
        "median rank": 5.0,
        "IoU@0.1": 0.560,
        "IoU@0.3": 0.345,
        "IoU@0.5": 0.153,
        "median IoU": 0.137,
    }


def test_the_baselines_of_table_2_in_their_order() -> None:
    assert [row.name for row in retrieval_rows()] == [
        "Full image RNN",
        "EdgeBoxes + full image RNN",
        "Region RNN",
        "FCLN",
    ]
    assert [figures(row.name)["R@1"] for row in retrieval_rows()] == [0.10, 0.11, 0.18, 0.27]
    assert figures("Region RNN")["IoU@0.5"] == 0.108
    assert figures("EdgeBoxes + full image RNN")["median IoU"] == 0.020


def test_the_whole_photo_localizes_nothing() -> None:
    assert figures("Full image RNN") == {"R@1": 0.10, "R@5": 0.30, "R@10": 0.43, "median rank": 13}


def test_the_fcln_of_table_1_on_its_own_proposals() -> None:
    assert figures("FCLN, RPN") == {
        "mAP": 0.0539,
        "language METEOR": 0.273,
        "proposals ms": 90,
        "CNN ms": 140,
        "RNN ms": 10,
        "total ms": 240,
    }


def test_table_1_has_three_region_sources_a_method_and_one_runtime() -> None:
    rows = caption_rows()
    assert len(rows) == 12
    assert [figures(row.name)["mAP"] for row in rows] == [
        *(0.0242, 0.0427, 0.1411),
        *(0.0107, 0.0426, 0.2190),
        *(0.0488, 0.0321, 0.2684),
        *(0.0524, 0.0539, 0.2703),
    ]
    assert figures("Full image RNN, ground truth") == {"mAP": 0.1411, "language METEOR": 0.209}
    assert figures("FCLN on EdgeBoxes, RPN") == {"mAP": 0.0321, "language METEOR": 0.296}
    assert {row.name: row.values["total ms"].value for row in rows if "total ms" in row.values} == {
        "Full image RNN, EdgeBoxes": 3170,
        "Region RNN, EdgeBoxes": 3170,
        "FCLN on EdgeBoxes, EdgeBoxes": 360,
        "FCLN, RPN": 240,
    }
