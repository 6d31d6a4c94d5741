"""The one page of the example."""

from books.services import book_get
from cachelayer.http import cache_status
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path


def book(request: HttpRequest, isbn: str) -> JsonResponse:
    """Answer with a book, and with what the cache did."""
    cached = book_get(isbn=isbn)
    if cached.value is None:
        raise Http404
    body = {"isbn": isbn, "title": cached.value.title}
    return JsonResponse(body, headers={"Cache-Status": cache_status(cached)})


urlpatterns = [path("books/<isbn>", book)]
