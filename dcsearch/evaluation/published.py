"""Published: the paper's own figures, as rows to stand beside ours.

DenseCap's Tables 1 and 2, measured on Visual Genome by VGG-16 networks. As in every report, shares
and average precisions are 0 to 1: the paper's AP of 5.39 is 0.0539. A figure that the paper does
not give is missing.
"""

from collections.abc import Sequence

from dcsearch.evaluation.report import Measure, Row

RANKING = ("R@1", "R@5", "R@10", "median rank")
LOCALIZATION = ("IoU@0.1", "IoU@0.3", "IoU@0.5", "median IoU")
RUNTIME = ("proposals ms", "CNN ms", "RNN ms", "total ms")
SOURCES = ("EdgeBoxes", "RPN", "ground truth")


def retrieval_rows() -> tuple[Row, ...]:
    """Table 2 (section 4.2): 100 queries of 4 phrases, 1,000 photos of 100 regions.

    All but the FCLN look at regions of EdgeBoxes; the first looks at the whole photo and so
    localizes nothing.
    """
    columns = RANKING + LOCALIZATION
    return (
        _row("Full image RNN", RANKING, (0.10, 0.30, 0.43, 13)),
        _row(
            "EdgeBoxes + full image RNN",
            columns,
            (0.11, 0.40, 0.55, 9, 0.348, 0.156, 0.053, 0.020),
        ),
        _row("Region RNN", columns, (0.18, 0.43, 0.59, 7, 0.460, 0.273, 0.108, 0.077)),
        _row("FCLN", columns, (0.27, 0.53, 0.67, 5, 0.560, 0.345, 0.153, 0.137)),
    )


def caption_rows() -> tuple[Row, ...]:
    """Table 1 (section 4.1): a row of each method and region source, "FCLN, RPN" and so on.

    Columns are "mAP", "language METEOR" and RUNTIME: milliseconds on a Titan X for a photo of 720
    x 600 and 300 proposals. The paper times each method once: with EdgeBoxes, the FCLN with its
    own proposals. There "RPN" is the FCLN's own; elsewhere it was trained by itself.
    """
    full, region, fixed, fcln = "Full image RNN", "Region RNN", "FCLN on EdgeBoxes", "FCLN"
    #         language METEOR      AP in percent       runtime
    table = {
        full: ((0.173, 0.197, 0.209), (2.42, 4.27, 14.11), (210, 2950, 10, 3170)),
        region: ((0.221, 0.244, 0.272), (1.07, 4.26, 21.90), (210, 2950, 10, 3170)),
        fixed: ((0.264, 0.296, 0.293), (4.88, 3.21, 26.84), (210, 140, 10, 360)),
        fcln: ((0.264, 0.273, 0.305), (5.24, 5.39, 27.03), (90, 140, 10, 240)),
    }
    rows = []
    for method, (meteors, precisions, runtime) in table.items():
        timed = "RPN" if method == fcln else "EdgeBoxes"
        for source, meteor, precision in zip(SOURCES, meteors, precisions, strict=True):
            names = ("mAP", "language METEOR") + (RUNTIME if source == timed else ())
            times = runtime if source == timed else ()
            values = (round(precision / 100, 4), meteor, *times)
            rows.append(_row(f"{method}, {source}", names, values))
    return tuple(rows)


def _row(name: str, columns: Sequence[str], values: Sequence[float]) -> Row:
    figures = zip(columns, values, strict=True)
    return Row(
        name=name,
        values={column: Measure(value=float(value)) for column, value in figures},
        published=True,
    )
