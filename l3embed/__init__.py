"""Embeddings of sound: train, extract, probe and serve L3-Net."""

__version__ = "0.1.0"
