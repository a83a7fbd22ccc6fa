"""`POST /v1/classify`: our own protocol.

A bare ASGI endpoint: an ordinary FastAPI route would cost a tiny variant a third of its requests
per second. Its documentation is in `schemas.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from paretext_models.errors import Fault, TextError
from paretext_service.catalogue import Served
from paretext_service.choice import choose, find_model
from paretext_service.classification import Answer, Options, Text, classify
from paretext_service.conditions import read_conditions
from paretext_service.errors import Problem, ProblemError, invalid_request
from paretext_service.exchange import EXCHANGE, Exchange
from paretext_service.execution import execute
from paretext_service.protocols.inputs import Body, ItemFault, parse_body, read_body, read_item
from paretext_service.router import Decision
from paretext_service.service import Service

logger = logging.getLogger("paretext.classify")

# An item's answer, and the JSON that the worker has written of it.
Written = tuple[Answer, bytes]


class Classify:
    """The endpoint.

    Args:
        service: whose models answer.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        settings = self._service.settings
        content = await read_body(receive, exchange.headers, settings)
        exchange.body_arrived()
        body, faults = parse_body(content, settings)
        asked = read_conditions(exchange.headers, scope["headers"])
        if faults or asked.faults:
            raise invalid_request([*faults, *asked.faults])
        model = find_model(self._service, body.model)
        served, decision = choose(self._service, model, asked)
        exchange.model, exchange.variant = model.name, served.variant
        exchange.reason = decision.reason
        _check_function(served, body.options)
        queued_ms = self._service.scheduler.predicted_wait_ms()
        deadline_ms = asked.deadline_ms or settings.default_deadline_ms
        results = await self._run(exchange, receive, served, body, deadline_ms)
        predicted = _predicted_ms(served, results, queued_ms, settings.workers)
        await _respond(send, exchange, served, decision, results, predicted)
        self._observe(exchange, results)

    async def _run(
        self,
        exchange: Exchange,
        receive: Receive,
        served: Served,
        body: Body,
        deadline_ms: float | None,
    ) -> list[Written | ItemFault]:
        """The outcome of every item, in their order."""
        pair, longest = served.manifest.task.pair, self._service.settings.max_text_chars
        items = [read_item(one, pair=pair, max_chars=longest) for one in body.inputs]
        texts = [item for item in items if isinstance(item, Text)]
        exchange.texts = len(items)
        if body.single and not texts:
            raise _single_fault(items[0])

        def run(text: Text) -> Written:
            answer = classify(served, body.options, text)
            return answer, _item_json(answer)

        ran: list[Any] = []
        if texts:
            scheduler = self._service.scheduler
            ran = await execute(scheduler, exchange, receive, texts, run, deadline_ms)
        outcomes = iter(ran)
        results = [
            _outcome(next(outcomes), exchange) if isinstance(item, Text) else item for item in items
        ]
        if body.single and isinstance(results[0], ItemFault):
            raise _single_fault(results[0])
        return results

    def _observe(self, exchange: Exchange, results: Sequence[Written | ItemFault]) -> None:
        metrics, names = self._service.metrics, (exchange.model, exchange.variant)
        timings = exchange.timings
        answers = [one[0] for one in results if not isinstance(one, ItemFault)]
        exchange.answered()
        metrics.duration.labels(*names).observe(timings.total)
        metrics.stages.labels(*names, "tokenize").observe(timings.tokenize)
        metrics.stages.labels(*names, "queue").observe(timings.queue)
        metrics.stages.labels(*names, "inference").observe(timings.inference)
        metrics.tokens.labels(*names).inc(exchange.tokens)
        if truncated := sum(answer.truncated for answer in answers):
            metrics.truncated.labels(*names).inc(truncated)


def _check_function(served: Served, options: Options) -> None:
    if served.manifest.task.problem == "regression" and options.function in ("softmax", "sigmoid"):
        raise invalid_request(
            [Fault("function", options.function, "auto or none: the model is a regression")]
        )


def _outcome(result: object, exchange: Exchange) -> Written | ItemFault:
    """What became of a text that a worker ran."""
    if isinstance(result, tuple):
        answer: Answer = result[0]
        exchange.tokens += answer.tokens
        exchange.timings.tokenize += answer.tokenize_seconds
        exchange.timings.inference += answer.inference_seconds
        return result
    if isinstance(result, TextError):
        return ItemFault(Problem[result.code.upper()], str(result))
    logger.error(
        "request %s: %s/%s failed: %r",
        exchange.request_id,
        exchange.model,
        exchange.variant,
        result,
    )
    return ItemFault(Problem.INFERENCE_FAILED, "the variant failed on this input; see the log")


def _single_fault(fault: object) -> ProblemError:
    """A request of one bad input is a problem as a whole."""
    assert isinstance(fault, ItemFault)
    faults = [Fault("inputs", fault.value, fault.message)] if fault.problem.status == 422 else []
    return ProblemError(fault.problem, fault.message, faults=faults)


def _predicted_ms(
    served: Served, results: Sequence[Written | ItemFault], queued_ms: float, workers: int
) -> float | None:
    """The 95th percentile by this host's profile, and the queue that was ahead; None unprofiled."""
    profile = served.profile
    if profile is None:
        return None
    runs = [
        profile.predicted_ms(one[0].tokens, "p95")
        for one in results
        if not isinstance(one, ItemFault)
    ]
    return queued_ms + sum(runs) / max(1, min(workers, len(runs)))


def _item_json(answer: Answer) -> bytes:
    return to_json(
        {"labels": answer.labels, "tokens": answer.tokens, "truncated": answer.truncated}
    )


def _fault_json(fault: ItemFault) -> bytes:
    return to_json({"error": {"code": fault.problem.code, "message": fault.message}})


async def _respond(
    send: Send,
    exchange: Exchange,
    served: Served,
    decision: Decision,
    results: Sequence[Written | ItemFault],
    predicted_ms: float | None,
) -> None:
    body = _body(exchange, served, decision, results, predicted_ms)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-model": exchange.model,
        "x-variant": exchange.variant,
        "x-variant-revision": served.revision,
        "x-device": served.device,
        "x-route-reason": decision.reason,
        "server-timing": exchange.timings.server_timing(),
    }
    if predicted_ms is not None:
        headers["x-predicted-latency-ms"] = f"{predicted_ms:.3f}"
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _body(
    exchange: Exchange,
    served: Served,
    decision: Decision,
    results: Sequence[Written | ItemFault],
    predicted_ms: float | None,
) -> bytes:
    """The answer's JSON; the items were written by the workers."""
    chosen = decision.candidate
    head = {
        "model": exchange.model,
        "variant": exchange.variant,
        "revision": served.revision,
        "device": served.device,
    }
    why: dict[str, Any] = {"reason": decision.reason, "accuracy": chosen.accuracy}
    why["accuracy_ci95"] = chosen.accuracy_ci95
    if predicted_ms is not None:
        why["predicted_ms"] = predicted_ms
    items = b",".join(_fault_json(one) if isinstance(one, ItemFault) else one[1] for one in results)
    return b'%s,"results":[%s],"route":%s}' % (to_json(head)[:-1], items, to_json(why))
