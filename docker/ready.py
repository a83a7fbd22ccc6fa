"""The images' health check: exits with 0 where the service in this container answers as ready."""

from __future__ import annotations

import http.client
import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 2.0


def main() -> int:
    """0 if /health/ready answers with 200, else 1 and the reason on the error stream."""
    url = f"http://127.0.0.1:{os.environ.get('PARETEXT_PORT') or '8000'}/health/ready"
    # A proxy set for the container is for the world outside it, not for this address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS):
            return 0
    except urllib.error.HTTPError as error:
        reason = f"answered {error.code}"
        error.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error)
    sys.stderr.write(f"{url}: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
