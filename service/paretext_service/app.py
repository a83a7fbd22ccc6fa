"""The application: every route, and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from paretext_models import __version__
from paretext_service.errors import Problem, ProblemError
from paretext_service.gate import CLASSIFY_PATH, Gate
from paretext_service.openapi import document
from paretext_service.pages import page_routes
from paretext_service.protocols.classify import Classify
from paretext_service.protocols.health import health_routes
from paretext_service.protocols.models import model_routes
from paretext_service.service import Service
from paretext_service.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings; its `Service` is `app.state.service`.

    It reads the store once it has been started, beside answering: until then it is not ready.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Paretext",
        version=__version__,
        description="Text classifiers, pared down to their Pareto frontier.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.router.routes.insert(
        0, Route(CLASSIFY_PATH, Classify(service), methods=["POST"], include_in_schema=False)
    )
    app.include_router(model_routes(service))
    app.include_router(health_routes(service))
    app.include_router(page_routes())
    app.add_middleware(Gate, service=service)
    app.add_exception_handler(HTTPException, _no_route)
    app.openapi = document(app, keys=bool(settings.api_keys))  # type: ignore[method-assign]
    return app


async def _no_route(request: Request, error: Exception) -> Response:
    """What the router found no route for, in our own words."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = dict(error.headers or {})
        detail = f"{request.method} is not possible here; possible: {allowed.get('Allow', '')}"
        raise ProblemError(Problem.METHOD_NOT_ALLOWED, detail, headers=allowed)
    raise ProblemError(Problem.NOT_FOUND, "the paths are listed at /docs")
