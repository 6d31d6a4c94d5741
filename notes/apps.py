from django.apps import AppConfig


class NotesConfig(AppConfig):
    name = "notes"

    def ready(self) -> None:
        # The models are ready only now.
        from cachelayer import namespace  # noqa: PLC0415
        from notes import cache_keys  # noqa: PLC0415
        from notes.api import cache_sources  # noqa: PLC0415

        namespace.register_loader(cache_keys.NOTES, cache_sources.notes)
        namespace.register_loader(cache_keys.NOTE_LISTS, cache_sources.lists)
