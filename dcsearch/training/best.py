"""Best: the best validation of a run so far, by which it may stop early."""

from dataclasses import dataclass


@dataclass
class Best:
    """A figure of which more is better, and how long ago it was reached."""

    figure: float | None = None
    step: int = 0  # that reached it; 0: none has
    since: int = 0  # validations after it

    def judge(self, figure: float, step: int) -> bool:
        """Take in a validation; whether it is better than all before."""
        better = self.figure is None or figure > self.figure
        if better:
            self.figure, self.step, self.since = figure, step, 0
        else:
            self.since += 1
        return better
