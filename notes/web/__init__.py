"""The pages of notes: for people, over the same reads and writes as the API."""
