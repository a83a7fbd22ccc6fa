"""What a variant is and how one runs: the contract between building and serving."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("paretext")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"
