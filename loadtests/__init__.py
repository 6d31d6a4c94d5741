"""The site seen from outside: benchmarks and failure drills over HTTP."""
