"""Commands over all apps."""
