"""The server process: listens, serves, and ends without losing a request."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from paretext_models.errors import InputError
from paretext_service.app import create_app
from paretext_service.catalogue import check_store
from paretext_service.connection import config_limits
from paretext_service.logs import configure_logging
from paretext_service.service import Service
from paretext_service.settings import Settings

logger = logging.getLogger("paretext.server")

_BACKLOG = 2048
# From refusing connections to closing those that are idle.
_LAME_DUCK_SECONDS = 0.2
# From failing what has not ended in time to cutting connections.
_LAST_WORDS_SECONDS = 2


def run(settings: Settings, *, ready: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        ready: called with the server's address once requests are answered.

    Returns: the exit code, 0.

    Raises:
        InputError: there is nothing to serve with, or the address cannot be had.
    """
    check_store(settings)
    with listen(settings) as listener:
        configure_logging(settings)
        server = build_server(settings)
        address = _address(listener)

        def announce() -> None:
            # What is loaded stays: searching it for garbage again and again cost 40 ms at the
            # 99th percentile and a tenth of a tiny variant's requests per second.
            gc.collect()
            gc.freeze()
            logger.info("serving %s at %s", settings.store, address)
            if ready is not None:
                ready(address)

        server.service.on_ready = announce
        # Also in force before uvicorn's own, and after it: it raises the signal once more when it
        # has shut down, and the default action would turn that into a failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        server.run([listener])
    return 0


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on.

    Raises:
        InputError: the address cannot be had.
    """
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot listen on {where}: {reason}; choose another --port") from error


def build_server(settings: Settings) -> DrainingServer:
    """A server for these settings, to be run on a socket from `listen`."""
    app = create_app(settings)
    fast = importlib.util.find_spec("uvloop") is not None
    config = uvicorn.Config(
        app,
        loop="uvloop" if fast else "asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=round(settings.drain_seconds) + _LAST_WORDS_SECONDS,
        **config_limits(settings),
    )
    return DrainingServer(config, app.state.service)


class DrainingServer(uvicorn.Server):
    """A uvicorn server that says goodbye: new requests get 503, accepted ones are finished."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.draining = True
        logger.info("draining: %d texts wait", self.service.scheduler.waiting)
        for server in self.servers:
            server.close()
        # Connections that were just opened, and requests on the wire, still get their answer.
        await asyncio.sleep(_LAME_DUCK_SECONDS)
        timer = asyncio.get_running_loop().call_later(
            self.service.settings.drain_seconds, self.service.scheduler.drain
        )
        await super().shutdown(sockets)
        timer.cancel()
        logger.info("stopped")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def main(settings: Settings) -> int:
    """`run`, with its errors told on standard error."""
    try:
        return run(settings)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
