"""The pipeline's node: bounded queues, workers, the chain of stages, and the policies after the events."""
