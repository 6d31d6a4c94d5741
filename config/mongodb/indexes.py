"""The indexes that a document declares, compared with those of its collection."""

from typing import Any, Final

import mongoengine as me

Index = dict[str, Any]  # its key and its options
_TTL: Final = "expireAfterSeconds"
# Nobody declares these; index_advisor hides indexes.
_UNDECLARED: Final = ("v", "ns", "background", "hidden")


class IndexDiffers(Exception):
    """An index has another key or other options than the document declares."""


def ensure(document: type[me.Document]) -> None:
    """
    Create the indexes that are missing, and change online how long an index keeps documents.

    Raises IndexDiffers, before anything is changed, where one would have to be built anew.
    """
    collection, indexes = document._get_collection(), declared(document)
    changed = differences(document)
    for name, options in changed.items():
        if options != [_TTL] or _TTL not in indexes[name]:
            raise IndexDiffers(
                f"{collection.name}: the index {name} has another {', '.join(options)}; drop it first"
            )
    for name in changed:
        index = {"name": name, _TTL: indexes[name][_TTL]}
        collection.database.command("collMod", collection.name, index=index)
    document.ensure_indexes()


def declared(document: type[me.Document]) -> dict[str, Index]:
    """Return the indexes that the document declares, by name."""
    specifications = [dict(index) for index in document._meta["index_specs"]]
    return {index.pop("name"): {"key": index.pop("fields"), **index} for index in specifications}


def present(document: type[me.Document]) -> dict[str, Index]:
    """Return the indexes of the collection by name, without that of _id."""
    return {
        name: {
            option: value
            for option, value in index.items()
            if option not in _UNDECLARED and value is not False
        }
        for name, index in document._get_collection().index_information().items()
        if name != "_id_"
    }


def differences(document: type[me.Document]) -> dict[str, list[str]]:
    """Return the indexes that are both declared and present but differ, each with what differs."""
    ours, theirs = declared(document), present(document)
    changed = {
        name: sorted(
            option
            for option in ours[name].keys() | theirs[name].keys()
            if ours[name].get(option) != theirs[name].get(option)
        )
        for name in sorted(ours.keys() & theirs.keys())
    }
    return {name: options for name, options in changed.items() if options}
