"""Commands for profiles."""
