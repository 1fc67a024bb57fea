"""Answers kept: asked once, read on, let go of."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.web.admission import Admission
from cli.web.answers import Answers
from cli.web.questions import Asked
from indexer import Answer, PhotoResult

DOG, CAT = Asked(q=("a dog",)), Asked(q=("a cat",))


class Searches:
    """An index of photos, which finds a longer answer in another order beyond what it had."""

    def __init__(self, photos: int = 100) -> None:
        self.asked: list[tuple[int, bool]] = []
        self.photos = photos

    def __call__(self, top: int, record: bool) -> Answer:
        """The best photos: some first ones, and the others turned round by how many they are."""
        self.asked.append((top, record))
        ids = [*range(5), *sorted(range(5, self.photos), key=lambda n: (n * (top + 1)) % 101)]
        return Answer(
            query_id=None,
            asked_at=datetime.now(UTC),
            phrases=("a dog",),
            unknown_words=(),
            model_name="m",
            model_sha256="0",
            photos=self.photos,
            regions=1,
            elapsed_ms=1.0,
            results=tuple(
                PhotoResult(
                    rank=rank,
                    path=Path(f"/{number}"),
                    score=0.0,
                    width=1,
                    height=1,
                    regions=(),
                    photo_id=number,
                )
                for rank, number in enumerate(ids[:top], start=1)
            ),
        )


def get(answers: Answers, search: Searches, top: int, asked: Asked = DOG, **more: Any) -> Any:
    options = {"edition": 1, "record": True} | more
    return answers.get(None, asked, search, top=top, **options)  # type: ignore[arg-type]


def numbers(kept: Any) -> list[int | None]:
    return [result.photo_id for result in kept.answer.results]


def run(test: Any) -> None:
    async def within() -> None:
        admission = Admission("test", at_once=2, waiting=10)
        await test(Answers(admission))
        admission.close()

    asyncio.run(within())


def test_a_question_is_asked_once_and_recorded_once() -> None:
    async def test(answers: Answers) -> None:
        search = Searches()
        await asyncio.gather(*(get(answers, search, 10) for _ in range(8)))
        await get(answers, search, 3)
        assert search.asked == [(10, True)]
        await get(answers, search, 30)
        assert search.asked == [(10, True), (30, False)]
        await get(answers, search, 10, CAT)
        await get(answers, search, 10, edition=2)
        await get(answers, search, 10, kind="explained")
        assert [top for top, _ in search.asked[2:]] == [10, 10, 10]

    run(test)


def test_what_was_given_first_stays_first_and_nothing_comes_twice() -> None:
    async def test(answers: Answers) -> None:
        search = Searches(40)
        first = numbers(await get(answers, search, 10))
        second = await get(answers, search, 11)
        assert numbers(second)[:10] == first
        assert len(second.answer.results) >= 20 - 5
        whole = await get(answers, search, 100)
        assert numbers(whole)[:10] == first
        assert sorted(numbers(whole)) == list(range(40))  # type: ignore[type-var]
        assert [result.rank for result in whole.answer.results] == list(range(1, 41))
        assert whole.whole
        asked = len(search.asked)
        await get(answers, search, 1000)
        assert len(search.asked) == asked

    run(test)


def test_old_answers_are_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.web.answers._KEPT", 2)

    async def test(answers: Answers) -> None:
        search = Searches()
        for phrase in ("one", "two", "three", "two", "one"):
            await get(answers, search, 5, Asked(q=(phrase,)))
        assert len(search.asked) == 4  # "two" was still there
        assert len(answers._kept) == 2

    run(test)


def test_an_error_is_not_kept() -> None:
    async def test(answers: Answers) -> None:
        search = Searches()

        def fail(top: int, record: bool) -> Answer:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await get(answers, fail, 5)  # type: ignore[arg-type]
        kept = await get(answers, search, 5)
        assert len(kept.answer.results) == 5
        assert replace(kept, whole=True).whole

    run(test)
