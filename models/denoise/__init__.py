"""Denoising: what comes from the camera, with less noise and nothing invented."""
