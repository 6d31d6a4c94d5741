"""What is measured, put into the docs: figures between markers, and screenshots."""
