"""Segmenters: pixels of one moment to a label image and its table of cells."""
