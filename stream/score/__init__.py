"""Offline: results against truth, in the terms of the Cell Tracking Challenge and of division events."""
