"""Django finds the commands below here."""
