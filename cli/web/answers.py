"""Answers: recent ones are kept, so that their further pages need no new search."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from fastapi import Request

from cli.web.admission import Admission
from cli.web.questions import Asked
from indexer import Answer

MOST_RESULTS = 10_000  # of one question
_KEPT = 64  # answers
_KEPT_RESULTS = 40_000  # of all of them

Search = Callable[[int, bool], Answer]
_Key = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class KeptAnswer:
    """An answer as far as it was asked for.

    Attributes:
        answer: with all results so far.
        whole: there are no further ones.
    """

    answer: Answer
    whole: bool


class Answers:
    """Answers questions through an `Admission`, and keeps the answers.

    An answer is continued from one page of results to the next, without gaps and
    repetitions: what was given first stays first, and the rest comes from a longer answer.
    """

    def __init__(self, admission: Admission) -> None:
        """Keep none yet."""
        self._admission = admission
        self._kept: OrderedDict[_Key, KeptAnswer] = OrderedDict()
        self._asking: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()

    async def get(
        self,
        request: Request,
        asked: Asked,
        search: Search,
        *,
        top: int,
        edition: int,
        kind: str = "",
        record: bool = False,
    ) -> KeptAnswer:
        """The answer to a question, with `top` results or all there are.

        Args:
            request: whose client waits for it.
            search: gives an answer of so many results, and records it in the history or not.
            edition: of the index; answers of another one are as good as none.
            kind: what else tells questions apart.
            record: keep it in the history, if it is not one of the recent answers.

        Raises:
            Busy, ClientLeft: see `Admission.run`.
            DcsearchError: what `search` raises.
        """
        key = (asked, edition, kind)
        lock = self._asking.get(key)
        if lock is None:
            lock = self._asking[key] = asyncio.Lock()
        async with lock:
            kept = self._kept.get(key)
            if kept is None or (not kept.whole and len(kept.answer.results) < top):
                wanted = top if kept is None else max(top, 2 * len(kept.answer.results))
                wanted = min(wanted, MOST_RESULTS)
                told = record and kept is None
                answer = await self._admission.run(request, lambda: search(wanted, told))
                whole = len(answer.results) < wanted or wanted == MOST_RESULTS
                kept = KeptAnswer(answer=_extended(kept, answer), whole=whole)
                self._kept[key] = kept
                self._forget()
            self._kept.move_to_end(key)
        return kept

    def _forget(self) -> None:
        """Let go of the answers that were not read for the longest time."""
        while len(self._kept) > 1 and (
            len(self._kept) > _KEPT
            or sum(len(kept.answer.results) for kept in self._kept.values()) > _KEPT_RESULTS
        ):
            self._kept.popitem(last=False)


def _extended(kept: KeptAnswer | None, answer: Answer) -> Answer:
    """An answer that begins with the results that were given before."""
    if kept is None:
        return answer
    given = kept.answer.results
    known = {result.photo_id for result in given}
    further = [result for result in answer.results if result.photo_id not in known]
    ranked = [replace(result, rank=rank) for rank, result in enumerate(further, len(given) + 1)]
    return replace(kept.answer, results=(*given, *ranked))
