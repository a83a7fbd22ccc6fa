"""What every request passes first and last: its id, its key, and the end of every error."""

from __future__ import annotations

import hmac
import logging

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paretext_service.errors import PROBLEM_JSON, Problem, ProblemError, problem_json
from paretext_service.exchange import CLIENT_GONE, EXCHANGE, ClientGoneError, Exchange
from paretext_service.logs import log_request
from paretext_service.service import Service

logger = logging.getLogger("paretext.gate")

CLASSIFY_PATH = "/v1/classify"
METRICS_PATH = "/metrics"
_PROBES = ("/health/live", "/health/ready")
# Neither holds anything of the store: the page asks for a key where one is needed.
_OPEN = ("/", "/docs", "/openapi.json")
_ASSETS = "/assets/"


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        service: whose keys, metrics and state count.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        settings = service.settings
        self._keys = tuple(
            key.get_secret_value().encode() for key in (*settings.api_keys, *settings.admin_keys)
        )
        self._needs_key = bool(settings.api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope[EXCHANGE] = Exchange.of(scope)
        counted = scope["path"] == CLASSIFY_PATH
        if counted:
            self._service.metrics.inflight.inc()
        try:
            await self._answer(scope, receive, self._marked(send, exchange))
        except ClientGoneError:
            pass
        finally:
            exchange.answered()
            if counted:
                self._count(exchange)
            log_request(scope["path"], exchange)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        try:
            self._admit(scope["path"], exchange)
            await self._app(scope, receive, send)
        except ProblemError as error:
            await problem_response(error, exchange.request_id)(scope, receive, send)
        except ClientGoneError:
            raise
        except Exception:  # the last line of defence; the client learns the id and nothing else
            logger.exception("request %s failed", exchange.request_id)
            if exchange.status != CLIENT_GONE:  # half an answer is out: only closing can tell
                raise
            failed = ProblemError(Problem.INTERNAL_ERROR, "see the server's log for this request")
            await problem_response(failed, exchange.request_id)(scope, receive, send)

    def _admit(self, path: str, exchange: Exchange) -> None:
        if path in _PROBES:
            return
        if path == METRICS_PATH:
            if not self._service.settings.metrics_open:
                self._check_key(exchange)
            return
        if self._service.draining:
            raise ProblemError(Problem.DRAINING, "ask another server", headers={"Retry-After": "1"})
        if not (path in _OPEN or path.startswith(_ASSETS)):
            self._check_key(exchange)

    def _check_key(self, exchange: Exchange) -> None:
        if not self._needs_key:
            return
        scheme, _, given = exchange.headers.get(b"authorization", b"").partition(b" ")
        # Every key is compared in full: the time taken says nothing about any of them.
        matches = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        if scheme.lower() != b"bearer" or not any(matches):
            raise ProblemError(
                Problem.UNAUTHORIZED,
                "send a valid key as: Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _marked(self, send: Send, exchange: Exchange) -> Send:
        """Adds the request id to the response, and notes its status."""
        request_id = (b"x-request-id", exchange.request_id.encode("ascii"))

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = [*message["headers"], request_id]
                if self._service.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        return marked

    def _count(self, exchange: Exchange) -> None:
        metrics = self._service.metrics
        metrics.count(exchange.model, exchange.variant, exchange.reason, exchange.status)
        metrics.inflight.dec()


def problem_response(error: ProblemError, request_id: str) -> Response:
    """A problem as an HTTP response."""
    return Response(
        problem_json(error, request_id),
        error.problem.status,
        error.headers,
        media_type=PROBLEM_JSON,
    )
