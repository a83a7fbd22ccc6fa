"""Pages for people: what is served, and the API's documentation. Every asset is local."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from swagger_ui_bundle import swagger_ui_path

from paretext_service.errors import Problem, ProblemError

_HERE = Path(__file__).parent
_SWAGGER = Path(str(swagger_ui_path))
# The only files that are ever sent: name -> (folder, content type).
_ASSETS = {
    "page.css": (_HERE, "text/css"),
    "page.js": (_HERE, "text/javascript"),
    "docs.js": (_HERE, "text/javascript"),
    "swagger-ui.css": (_SWAGGER, "text/css"),
    "swagger-ui-bundle.js": (_SWAGGER, "text/javascript"),
}
# Scripts and styles from here only; Swagger UI sets inline styles and draws with data: images.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}


def page_routes() -> APIRouter:
    """`/`, `/docs` and `/assets`."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse((_HERE / "index.html").read_text("utf-8"), headers=_HEADERS)

    @routes.get("/docs")
    def docs() -> HTMLResponse:
        return HTMLResponse((_HERE / "docs.html").read_text("utf-8"), headers=_HEADERS)

    @routes.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise ProblemError(Problem.NOT_FOUND, f"no asset {name!r}")
        folder, kind = _ASSETS[name]
        headers = {**_HEADERS, "Cache-Control": "max-age=3600"}
        return Response((folder / name).read_bytes(), media_type=kind, headers=headers)

    return routes
