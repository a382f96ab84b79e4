"""Rehearsal: the same configuration on the virtual microscope, with its policies and without, scored against truth."""
