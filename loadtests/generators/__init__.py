"""Load: requests over HTTP at a fixed rate or in a closed loop, and simulated users."""
