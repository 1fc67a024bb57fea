"""Progress: what is said of long work where no bar is drawn."""

import time

import pytest

from cli.progress import Bar


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_terminal_a_line_is_said_a_minute_after_the_last(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Bar("working", unit="photos", total=None, quiet=quiet) as bar:
        assert not bar.visible
        for clock[0], line in (
            (159.0, "too early"),
            (160.0, "one"),
            (219.0, "again"),
            (221.0, "two"),
        ):
            bar.say_at_times(line)
        clock[0] = 270.0
        bar.say("at once")
        for clock[0], line in ((329.0, "too early after it"), (330.0, "three")):
            bar.say_at_times(line)
    said = [] if quiet else ["one", "two", "at once", "three"]
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in said))
