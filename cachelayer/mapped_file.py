"""
Files mapped into memory: a store is in the kernel's hands once it is made, without a system call, and all
processes that map the file see it.

Where a page has no place in its file, since somebody has cut the file off or the disk has failed, the kernel
answers an access with SIGBUS, which ends the process. Here the file's mapping is replaced by memory of
the process instead, so that the access can end, and is_lost says that the file does not have it. No
flag that is looked at first could do that: the file may be cut off at any moment.

That is so on Linux. On other systems SIGBUS ends the process, as by mmap.mmap itself.
"""

import ctypes
import mmap
import os
import signal
import sys
import weakref
from functools import cache
from typing import Any, Final

_MAP_FIXED: Final = 0x10  # of <asm-generic/mman-common.h>
_MADV_POPULATE_WRITE: Final = 23  # of the same
_SIGINFO: Final = 4  # SA_SIGINFO of <bits/sigaction.h>: the handler gets the address
# PyDLL: these calls do not let go of the interpreter in the middle of a store.
_libc: Final = ctypes.PyDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_yielding_libc: Final = ctypes.CDLL(None)
_yielding_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_files: Final = weakref.WeakSet["MappedFile"]()


class _Action(ctypes.Structure):
    """struct sigaction of Linux's C libraries, on processors of 64 bits."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint8 * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Information(ctypes.Structure):
    """The beginning of siginfo_t: of SIGBUS, the address that was accessed."""

    _fields_ = (
        ("number", ctypes.c_int),
        ("error", ctypes.c_int),
        ("code", ctypes.c_int),
        ("address", ctypes.c_void_p),
    )


_Handler: Final = ctypes.CFUNCTYPE(
    None, ctypes.c_int, ctypes.POINTER(_Information), ctypes.c_void_p
)


def reserve(descriptor: int, size_bytes: int) -> None:
    """Make an empty file that long, with its space on the disk. Raises OSError: it is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:  # macOS
        os.pwrite(descriptor, bytes(size_bytes), 0)


class MappedFile(mmap.mmap):
    """
    The beginning of an open file as memory that all processes share which map it.

    is_lost: the file does not have what was stored; since then this process has memory of its own, of zeros.
    """

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Map what mmap.mmap has mapped for the same arguments: a file that is as long, open for both."""
        self.is_lost = False
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self))
        self._size_bytes = size_bytes
        _files.add(self)
        if sys.platform != "linux":  # the structures and numbers here are Linux's
            return
        _survive_lost_pages()
        # All pages now, while other threads run: the kernel may wait for the disk over one, and in a
        # store it would do so with the interpreter held. A kernel before 5.14 cannot, and refuses.
        _yielding_libc.madvise(self._address, size_bytes, _MADV_POPULATE_WRITE)

    def close(self) -> None:
        """Unmap it. What was stored stays in the file."""
        _files.discard(self)
        super().close()

    def replace(self, address: int) -> bool:
        """Put the process's own memory into the file's place if that address is in it; return whether."""
        if not self._address <= address < self._address + self._size_bytes:
            return False
        self.is_lost = True
        _libc.mmap(
            self._address,
            self._size_bytes,
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED,
            -1,
            0,
        )
        return True


@cache
def _survive_lost_pages() -> tuple[object, ...]:
    """
    Handle SIGBUS, once for the process; what is returned must live as long.

    The kernel raises it in the thread that makes the access. That thread holds the interpreter, and is within the copying of
    bytes, a word of a memoryview perhaps, and nothing else; so, unlike in other handlers of signals, Python may run here.
    """
    previous = _Action()

    def handle(number: int, information: Any, _: int) -> None:
        address = information.contents.address
        if not any(file.replace(address) for file in _files):
            # Not ours: the access is tried again, and ends as it would have without this handler.
            _libc.sigaction(number, ctypes.byref(previous), None)

    handler = _Handler(handle)
    action = _Action(ctypes.cast(handler, ctypes.c_void_p), flags=_SIGINFO)
    if _libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(previous)):
        raise OSError("the handler of SIGBUS is refused")
    return handler, previous
