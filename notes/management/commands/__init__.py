"""Commands for notes."""
