"""Recordings as if they were live: numbered images, TIFF stacks, OME-Zarr."""
