"""Activity: the append-only stream of what users did, in MongoDB."""
