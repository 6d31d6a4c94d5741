""".env of the project: read whole, or refused with the number of the line that is wrong."""

import io
import os
from pathlib import Path
from typing import Final

import dotenv
from dotenv.parser import parse_stream

from config.stack.process import StackError

_DISABLED: Final = ("1", "true", "t", "yes", "y")  # as python-dotenv reads it


def load(path: Path) -> None:
    """
    Add the variables of the file to the environment unless they are set; a missing file is empty.

    Raises StackError, in one line that quotes no value, where the file cannot be read or a line
    is no NAME=value: python-dotenv would leave it out.
    """
    if os.environ.get("PYTHON_DOTENV_DISABLED", "").lower() in _DISABLED:
        return
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StackError(f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        line = path.read_bytes()[: exc.start].count(b"\n") + 1
        raise StackError(f"{path}, line {line}: not UTF-8") from exc
    for binding in parse_stream(io.StringIO(text)):
        is_setting = binding.key is not None
        if binding.error or (is_setting and binding.value is None) or "\0" in (binding.value or ""):
            blank = len(binding.original.string) - len(binding.original.string.lstrip("\n"))
            raise StackError(f"{path}, line {binding.original.line + blank}: not NAME=value")
    dotenv.load_dotenv(stream=io.StringIO(text))
