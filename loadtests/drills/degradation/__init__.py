"""What every endpoint answers in every state of the stores."""
