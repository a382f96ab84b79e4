"""Proposing, scoring, confirming and retracting divisions."""
