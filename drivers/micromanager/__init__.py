"""Any microscope that Micro-Manager drives: continuous sequences (stream mode) or events one by one (MDA mode)."""
