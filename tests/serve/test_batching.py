"""Requests that wait are predicted together, none waits for ever, and none changes another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from chainrule.serve.batching import Batching
from chainrule.serve.limits import Limits
from chainrule.serve.predicting import Asked, Predicting
from chainrule.serve.request_error import RequestError
from chainrule.serve.service import Predict, service
from chainrule.train.run import Run


def echo(asked: Sequence[Asked]) -> list[Any]:
    """Answer each request with its rows, as text."""
    return [str(one.values).encode() for one in asked]


@pytest.mark.parametrize("short", [0, 100], ids=["thread", "loop"])
def test_what_arrives_together_is_predicted_together(short: int) -> None:
    async def main() -> tuple[list[Any], Batching]:
        batching = Batching(echo, short)
        asked = [Asked([[i]]) for i in range(50)]
        return await asyncio.gather(*map(batching.answer, asked)), batching

    answers, batching = asyncio.run(main())
    assert answers == [f"[[{i}]]".encode() for i in range(50)]
    assert batching.requests == 50
    assert batching.batches == 1


@pytest.mark.parametrize("short", [0, 100], ids=["thread", "loop"])
def test_a_batch_has_a_limit_that_one_request_may_exceed(short: int) -> None:
    sizes: list[int] = []

    def count(asked: Sequence[Asked]) -> list[Any]:
        sizes.append(sum(map(len, asked)))
        return echo(asked)

    async def main() -> None:
        batching = Batching(count, short, most=4)
        await asyncio.gather(*[batching.answer(Asked([[0]] * n)) for n in (1, 2, 9, 3, 1, 1)])

    asyncio.run(main())
    assert sizes == [3, 9, 4, 1]


def test_the_loop_goes_on_while_a_long_batch_is_predicted() -> None:
    free = threading.Event()

    def wait(asked: Sequence[Asked]) -> list[Any]:
        assert free.wait(20)
        return echo(asked)

    async def main() -> list[Any]:
        batching = Batching(wait, 0, waiting=2)
        first = asyncio.create_task(batching.answer(Asked([[1]])))
        await asyncio.sleep(0.05)
        late = [asyncio.create_task(batching.answer(Asked([[i]]))) for i in (2, 3)]
        await asyncio.sleep(0)
        refused = await batching.answer(Asked([[4]]))  # two rows wait already
        late[0].cancel()  # nobody waits for it any more
        free.set()
        return [refused, await first, await late[1], batching.requests]

    refused, first, third, requests = asyncio.run(main())
    assert isinstance(refused, RequestError)
    assert refused.status == 503
    assert (first, third, requests) == (b"[[1]]", b"[[3]]", 2)


def test_a_failure_is_that_of_its_batch_alone() -> None:
    def fail(asked: Sequence[Asked]) -> list[Any]:
        if asked[0].values == [[0]]:
            raise RuntimeError("no")
        return echo(asked)

    async def main() -> list[Any]:
        batching = Batching(fail, 10, most=1)
        asked = [Asked([[0]]), Asked([[1]])]
        return await asyncio.gather(*map(batching.answer, asked), return_exceptions=True)

    failed, answered = asyncio.run(main())
    assert isinstance(failed, RuntimeError)
    assert answered == b"[[1]]"


def test_answers_do_not_depend_on_what_else_waits(classes: Run) -> None:
    ready = Predicting(classes)
    usual = ready.rows.usual().tolist()
    asked = [Asked(usual), Asked([[1e300, *usual[0][1:]]]), Asked(usual * 3), Asked(usual)]
    found = ready.answers(asked)
    assert isinstance(found[1], RequestError)
    assert found[0] == found[3] == ready.answers([Asked(usual)])[0]
    assert found[2] == ready.answers([Asked(usual * 3)])[0]


def ask(app: Any, body: list[Any], query: bytes = b"") -> tuple[int, bytes]:
    """Return status and body of a request whose body arrives in parts, or never (None)."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        part = body.pop(0)
        if part is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(body)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": query,
             "headers": [(b"x", b"y")], "root_path": ""}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_time_is_limited(arrays: Run) -> None:
    pytest.importorskip("starlette")
    app = service(arrays, Limits(seconds=0.2))
    assert ask(app, [b"[[1,2", b",3]]"])[0] == 200
    status, body = ask(app, [b"[[1,2", None])
    assert (status, b"did not arrive within 0.2 s" in body) == (408, True)
    free, slow = threading.Event(), Predict(Predicting(arrays), Limits(seconds=0.2))
    slow.batching = Batching(lambda asked: [b""] * free.wait(20), 0)
    status, body = ask(slow, [b"[[1,2,3]]"])
    free.set()
    assert (status, b"no prediction within 0.2 s" in body) == (503, True)
