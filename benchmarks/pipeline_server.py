"""What one would write without Paretext: FastAPI around a transformers pipeline, in fp32.

One process, an ordinary `def` endpoint (FastAPI runs it on threads), one text per call.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Body(BaseModel):
    """A request: one text."""

    inputs: str


def create_app(teacher: Path) -> FastAPI:
    """Answers `POST /v1/classify` with all labels of a text, best first."""
    classifier = pipeline("text-classification", model=str(teacher), top_k=None, device="cpu")
    app = FastAPI()

    @app.post("/v1/classify")
    def classify(body: Body) -> list[dict[str, Any]]:
        (labels,) = classifier([body.inputs], truncation=True)
        return list(labels)

    return app


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--torch-threads", type=int, default=0, help="0: as many as torch takes")
    given = parser.parse_args()
    if given.torch_threads:
        torch.set_num_threads(given.torch_threads)
    app = create_app(given.teacher)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
