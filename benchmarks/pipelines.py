"""The comparison with FastAPI around a transformers pipeline, at whichever setting suits it best.

torch gives every call a thread per core. That is right for one connection, and too many threads
where several calls run at once; so there are two servers, and each number of connections is
compared with the faster one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Server, pipeline_server

# 0 is torch's own choice.
_TORCH_THREADS = (0, 1)


@dataclass(frozen=True)
class Pipelines:
    """Servers to compare with.

    Attributes:
        chosen: the server for each number of connections.
        trials: what the choice was made from.
    """

    chosen: dict[int, Server]
    trials: dict[str, Any]


@contextlib.contextmanager
def open_pipelines(
    teacher: Path, texts: Path, connections: Sequence[int], seconds: float
) -> Iterator[Pipelines]:
    """Start both servers, and choose one for each number of connections by a trial."""
    with contextlib.ExitStack() as stack:
        servers = {n: stack.enter_context(pipeline_server(teacher, n)) for n in _TORCH_THREADS}
        found = {
            many: {n: server.load(texts, many, seconds) for n, server in servers.items()}
            for many in connections
        }
        best = {
            many: max(tried, key=lambda n: tried[n].throughput) for many, tried in found.items()
        }
        trials = {
            str(many): {
                "torch_threads": best[many],
                "throughput": {str(n): result.throughput for n, result in tried.items()},
            }
            for many, tried in found.items()
        }
        yield Pipelines({many: servers[n] for many, n in best.items()}, trials)
