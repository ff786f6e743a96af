"""Detectors: class names in, boxes out."""
