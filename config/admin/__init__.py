"""The admin's pages of the site itself: accounts here; the first page, cache, stores and slow queries in their modules."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from config.admin import cache, slow_queries, stores  # noqa: F401  # each registers its page
from config.web.admin_pages import StrictListAdmin

admin.site.unregister([User, Group])


@admin.register(User)
class StrictUserAdmin(StrictListAdmin, UserAdmin):
    """Accounts."""


@admin.register(Group)
class StrictGroupAdmin(StrictListAdmin, GroupAdmin):
    """Groups of accounts."""
