"""What the example keeps."""

from django.db import models


class Book(models.Model):
    isbn = models.CharField(primary_key=True, max_length=13)
    title = models.TextField()

    def __str__(self) -> str:
        return self.title
