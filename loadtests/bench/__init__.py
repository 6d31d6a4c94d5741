"""What requests cost: the benchmark, the comparison of two revisions, and the costs of single parts."""
