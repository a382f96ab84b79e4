"""Policies: events become wishes. Pure, on a time budget, and never in the way of the analysis."""
