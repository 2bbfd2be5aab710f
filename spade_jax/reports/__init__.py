"""What a run writes for people to read."""
