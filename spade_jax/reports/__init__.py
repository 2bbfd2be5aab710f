"""What a run leaves for people: the log, its metadata and the report."""
