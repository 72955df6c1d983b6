"""Floor 3: what a run leaves behind: one MLflow store, studies as parent runs, and one owner of each run's status."""
