"""Each line that ends in a code is one mistake, and the code that of mypy for it."""

from trilith_client import Client
from trilith_client.api.notes import notes_create, notes_list
from trilith_client.models import NoteCreateRequest, NotePage, PatchedPreferencesRequest

client = Client(base_url="http://127.0.0.1")

NoteCreateRequest(content="words")  # call-arg
NoteCreateRequest(title=None)  # arg-type
PatchedPreferencesRequest(theme="dark")  # arg-type
notes_create.sync(client=client)  # call-arg
page = notes_list.sync(client=client)
results = page.results  # union-attr
if isinstance(page, NotePage):
    count: int = page.count  # assignment
    following: str = page.next_  # assignment
