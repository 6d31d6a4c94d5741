"""
Which indexes the statements that really ran would gain from, each proved before it is proposed.

ran and profile tell what ran, asked what a statement asks of an index, candidates which indexes
would serve that; trying and mongodb prove them, migration writes them down.
"""
