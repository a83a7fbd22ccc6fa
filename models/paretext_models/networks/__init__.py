"""Torch modules that transformers lacks. Nothing else in this package imports torch."""
