from django.apps import AppConfig


class ProfilesConfig(AppConfig):
    name = "profiles"

    def ready(self) -> None:
        # The models are ready only now.
        from cachelayer import keys, sources  # noqa: PLC0415
        from profiles import selectors  # noqa: PLC0415

        sources.register(
            keys.PROFILES,
            lambda wanted: selectors.load_profiles([key.member for key, _ in wanted]),
        )
