"""Serves variants over HTTP."""
