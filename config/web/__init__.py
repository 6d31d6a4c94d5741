"""The REST floor under the apps: views, query strings, bodies, problems, callers. It imports no app."""
