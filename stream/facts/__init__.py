"""What happened, on disk: one SQLite file per node in the run's folder, and the questions that are asked of them."""
