"""Health, metrics, logs, request traces and slow statements of the site."""
