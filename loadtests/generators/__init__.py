"""Who asks: requests over HTTP at a fixed rate or in a closed loop, and made-up users."""
