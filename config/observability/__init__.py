"""What the site tells of itself: health, metrics, logs, traces, slow statements."""
