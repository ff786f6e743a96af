"""The queue before a model, fair between the callers."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from .work import Work


class FairQueue:
    """Requests that wait, a line per caller (API key): callers take turns, and within a line the first comes first.

    A caller with a hundred requests waiting delays another one's request by one turn, not by a hundred.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Work]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[Work]:
        """Yield all that wait, caller by caller."""
        for line in self._lines.values():
            yield from line

    def __contains__(self, work: Work) -> bool:
        return work in self._lines.get(work.caller, ())

    @property
    def callers(self) -> set[str]:
        """Callers that have requests waiting."""
        return set(self._lines)

    def waiting(self, caller: str) -> int:
        """Return how many requests of a caller wait."""
        return len(self._lines.get(caller, ()))

    def append(self, work: Work) -> None:
        """Add a request to its caller's line; a caller that had none waiting comes last in turn."""
        self._lines.setdefault(work.caller, deque()).append(work)

    def next(self) -> Work:
        """Return the request that :meth:`pop` would take.

        Raises:
            IndexError: Nothing waits.
        """
        if not self._lines:
            raise IndexError("the queue is empty")
        return next(iter(self._lines.values()))[0]

    def pop(self) -> Work:
        """Take the oldest request of the caller whose turn it is; that caller is last in turn then.

        Raises:
            IndexError: Nothing waits.
        """
        work = self.next()
        line = self._lines[work.caller]
        line.popleft()
        if line:
            self._lines.move_to_end(work.caller)
        else:
            del self._lines[work.caller]
        return work

    def remove(self, work: Work) -> None:
        """Take out a request that nobody waits for any more.

        Raises:
            ValueError: It is not here.
        """
        line = self._lines.get(work.caller, deque())
        line.remove(work)
        if not line:
            del self._lines[work.caller]
