"""Draws the losses of training runs, one after another, as curves in one picture.

python examples/draw_training.py RUN/metrics.jsonl [ANOTHER/metrics.jsonl ...] curves.png

Thin lines are losses of the steps, thick ones of the validations. A run that began with the weights
of the one before goes on where that ended. Needs matplotlib: pip install 'dcsearch[eval]'
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

SHOWN = ("caption", "discrimination", "contrast", "objectness", "proposal_objectness", "box")


def main() -> None:
    *logs, picture = sys.argv[1:]
    figure, axes = plt.subplots(2, 3, figsize=(12, 6), sharex=True, layout="constrained")
    first = 0
    for log in logs:
        rows = [json.loads(line) for line in Path(log).read_text(encoding="utf-8").splitlines()]
        steps = [row for row in rows if "total" in row]
        checks = [row for row in rows if "validation" in row]
        for name, place in zip(SHOWN, axes.flat, strict=True):
            place.plot(
                [first + row["step"] for row in steps],
                [row[name] for row in steps],
                color="tab:blue", linewidth=0.5,
            )  # fmt: skip
            place.plot(
                [first + row["step"] for row in checks],
                [row["validation"][name] for row in checks],
                color="tab:orange", linewidth=2, marker=".",
            )  # fmt: skip
            place.set(title=name.replace("_", " "), xlabel="steps")
            if first:
                place.axvline(first, color="gray", linewidth=0.5, linestyle="dashed")
        first += rows[-1]["step"]
    figure.savefig(picture, dpi=110)
    print(f"{len(logs)} runs, {first:,} steps, drawn into {picture}")


if __name__ == "__main__":
    main()
