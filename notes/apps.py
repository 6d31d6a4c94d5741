from django.apps import AppConfig


class NotesConfig(AppConfig):
    name = "notes"

    def ready(self) -> None:
        # The models are ready only now.
        from cachelayer import keys, sources  # noqa: PLC0415
        from notes.api import cache_sources  # noqa: PLC0415

        sources.register(keys.NOTES, cache_sources.notes)
        sources.register(keys.NOTE_LISTS, cache_sources.lists)
