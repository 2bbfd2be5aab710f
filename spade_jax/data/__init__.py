"""From files, records and data sets to batches of examples."""
