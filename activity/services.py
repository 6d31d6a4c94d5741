"""Recording what users do, and comparing what was acknowledged with what is stored."""

import atexit
import ipaddress
import threading
import time
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from bson import ObjectId
from django.conf import settings

from activity import ledger, spool
from activity.shipping import Shipper
from activity.spool import Spool

USER_AGENT_MAX_CHARACTERS: Final = 512
LOSS_TOLD_SECONDS: Final = 300  # so long health tells of it
_SHUTDOWN_SECONDS: Final = 2.0


def activity_record(
    *,
    user_id: str,
    action: str,
    resource: str,
    resource_id: str | None,
    details: Mapping[str, Any],
    ip_address: str | None,
    user_agent: str,
    request_id: str,
) -> ObjectId:
    """
    Acknowledge one event: once this returns it will be in MongoDB, once, whatever happens.

    ip_address is shortened unless ACTIVITY_FULL_IP; user_agent is cut at 512 characters. Raises
    OSError where the disk takes nothing.
    """
    return own_spool().append(
        {
            "user_id": user_id,
            "action": action,
            "resource": resource,
            "resource_id": resource_id,
            "details": details,
            "ip_address": None if ip_address is None else shown_address(ip_address),
            "user_agent": user_agent[:USER_AGENT_MAX_CHARACTERS],
            "request_id": request_id,
        }
    )


def own_spool() -> Spool:
    """Return the spool of this process, in settings.ACTIVITY_SPOOL_DIR."""
    return _spool(settings.ACTIVITY_SPOOL_DIR)


@cache
def _spool(folder: str) -> Spool:
    return Spool(Path(folder), max_bytes=settings.ACTIVITY_SPOOL_MAX_BYTES)


@lru_cache(maxsize=10_000)
def shown_address(address: str) -> str | None:
    """Return what is kept of a client's address: its network, /24 or /48; None: it is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if settings.ACTIVITY_FULL_IP:
        return str(parsed)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, prefix), strict=False).network_address)


def start_shipping() -> None:
    """Ship in a daemon thread of this process; at its end ship what there is time for."""
    shipper = Shipper(own_spool())
    thread = threading.Thread(target=shipper.run, name="activity-shipper", daemon=True)
    thread.start()

    def finish() -> None:
        own_spool().close()  # the segment is anybody's now, after a restart at the latest
        shipper.stop()
        thread.join(_SHUTDOWN_SECONDS)

    atexit.register(finish)


def recent_losses() -> int:
    """Return how many events were dropped, where some were in the last 5 minutes; else 0."""
    told = ledger.dropped(own_spool().folder)
    return told.events if time.time() - told.last_at < LOSS_TOLD_SECONDS else 0


def spool_state() -> dict[str, Any]:
    """Return {depth_events, depth_bytes, oldest_age_seconds} of all processes of this machine."""
    events, size, age = spool.waiting(own_spool().folder)
    return {"depth_events": events, "depth_bytes": size, "oldest_age_seconds": round(age, 3)}
