from django.apps import AppConfig


class NotesConfig(AppConfig):
    name = "notes"

    def ready(self) -> None:
        # The models are ready only now.
        from cachelayer import keys, sources  # noqa: PLC0415
        from notes.api import reloading  # noqa: PLC0415

        sources.register(keys.NOTES, reloading.notes)
        sources.register(keys.NOTE_LISTS, reloading.lists)
