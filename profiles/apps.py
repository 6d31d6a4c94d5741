from django.apps import AppConfig


class ProfilesConfig(AppConfig):
    name = "profiles"

    def ready(self) -> None:
        # The models are ready only now.
        from cachelayer import namespace  # noqa: PLC0415
        from profiles import cache_keys, selectors  # noqa: PLC0415

        namespace.register_loader(
            cache_keys.PROFILES,
            lambda requested: selectors.load_profiles([key.member for key, _ in requested]),
        )
