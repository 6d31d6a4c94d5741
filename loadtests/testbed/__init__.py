"""What is measured: servers and a site of their own, what surrounds them, and whether all is put back."""
