"""Linking cells to tracks."""
