"""The indexes that a document declares, compared with those of its collection."""

from typing import Any, Final

import mongoengine as me
from pymongo.errors import PyMongoError

Index = dict[str, Any]  # its key and its options
_TTL: Final = "expireAfterSeconds"
# Nobody declares these; index_advisor hides indexes.
_UNDECLARED: Final = ("v", "ns", "background", "hidden")


class IndexDiffers(PyMongoError):
    """An index has another key or other options than the document declares."""


def ensure(document: type[me.Document]) -> None:
    """
    Create the indexes that are missing, and change online how long an index keeps documents.

    Raises IndexDiffers, before anything is changed, where one would have to be built anew.
    """
    collection, wanted = document._get_collection(), declared(document)
    changed = differences(document)
    for name, options in changed.items():
        if options != [_TTL] or _TTL not in wanted[name]:
            raise IndexDiffers(
                f"{collection.name}: the index {name} has another {', '.join(options)}; drop it first"
            )
    for name in changed:
        index = {"name": name, _TTL: wanted[name][_TTL]}
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
    wanted, found = declared(document), present(document)
    changed = {
        name: sorted(
            option
            for option in wanted[name].keys() | found[name].keys()
            if wanted[name].get(option) != found[name].get(option)
        )
        for name in sorted(wanted.keys() & found.keys())
    }
    return {name: options for name, options in changed.items() if options}
