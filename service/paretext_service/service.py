"""The parts of a running server, and how they start and stop together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from paretext_service.catalogue import Catalogue
from paretext_service.metrics import Metrics
from paretext_service.scheduler import Scheduler
from paretext_service.settings import Settings

logger = logging.getLogger("paretext.service")


class Service:
    """Everything that a request may need. One per application.

    Args:
        settings: how to serve.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings)
        self.scheduler = Scheduler(settings.workers, settings.max_queue_texts)
        self.metrics = Metrics(settings.latency_target_ms)
        self.metrics.watch_queue(lambda: self.scheduler.waiting)
        self.draining = False
        self.on_ready: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """Whether requests are answered: the store was read, and something in it is usable."""
        return self.catalogue.loaded and self.catalogue.usable and not self.draining

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Workers run and the store is followed, until the block ends."""
        self.scheduler.start()
        follow = asyncio.create_task(self._follow_store())
        try:
            yield
        finally:
            self.draining = True
            follow.cancel()
            with suppress(asyncio.CancelledError):
                await follow
            await asyncio.to_thread(self.scheduler.close)

    async def _follow_store(self) -> None:
        announced = False
        while True:
            try:
                start = time.perf_counter()
                if await asyncio.to_thread(self.catalogue.reload):
                    self.metrics.show(self.catalogue.models)
                    logger.info("store read in %.2f s", time.perf_counter() - start)
            except Exception:  # a store out of reach must not end what is being served
                logger.exception("the store could not be read; trying again")
            if self.ready and not announced:
                announced = True
                if self.on_ready is not None:
                    self.on_ready()
            elif not announced:
                logger.warning("the store %s has nothing usable yet", self.settings.store)
            await asyncio.sleep(self.settings.reload_seconds)
