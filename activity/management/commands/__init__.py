"""Commands for activity."""
