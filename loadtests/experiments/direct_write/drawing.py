"""The charts of a direct write: the window by arm, and predicted against measured."""

import statistics
from typing import Final

from config.charts import Axis, Bar, BarChart, Line, LineChart, Point
from loadtests.experiments.direct_write.trials import SERVICE_TTL_SECONDS, Taken

_LEAST_SECONDS: Final = 0.0001  # that a logarithmic axis can show


def charts(taken: Taken) -> list[LineChart | BarChart]:
    """Return both."""
    return [_windows(taken), _predictions(taken)]


def windows_at_service_ttl(taken: Taken) -> list[float]:
    """Return the windows of writes to notes just cached, in seconds, scaled to the service's TTL."""
    scale = SERVICE_TTL_SECONDS / taken.size.ttl_seconds
    return [one.until_s * scale for one in taken.copies]


def _windows(taken: Taken) -> BarChart:
    on = [max(one / 1000, _LEAST_SECONDS) for one in taken.edits_ms]
    off = [one.until_s for one in taken.copies]
    scaled = windows_at_service_ttl(taken)
    validated = [max(one / 1000, _LEAST_SECONDS) for one in taken.validated_on_ms]
    return BarChart(
        title=f"An UPDATE of a note just cached is not seen for {statistics.median(on) * 1000:.0f} ms with the "
        f"triggers, without them for {statistics.median(scaled):.0f} s",
        axis=Axis(label="inconsistency window of a note just cached (s)", log=True),
        bars=(
            _bar(f"triggers off, TTL {SERVICE_TTL_SECONDS} s (scaled)", scaled),
            _bar(f"triggers off, TTL {taken.size.ttl_seconds} s", off),
            _bar("triggers on", on),
            _bar("triggers on, by If-None-Match", validated),
        ),
    )


def _bar(name: str, seconds: list[float]) -> Bar:
    middle = statistics.median(seconds)
    return Bar(
        name=name,
        value=middle,
        low=min(seconds),
        high=max(seconds),
        told=f"{_told(middle)} ({_told(min(seconds))} to {_told(max(seconds))}, n={len(seconds)})",
    )


def _told(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _predictions(taken: Taken) -> LineChart:
    points = sorted((one.predicted_s, one.window_s) for one in taken.copies)
    excess = statistics.median(measured - predicted for predicted, measured in points)
    ends = (min(0.0, points[0][0]), points[-1][0])
    return LineChart(
        title=f"Without triggers the window is what is left of the copy's life, to within "
        f"{abs(excess) * 1000:.0f} ms",
        x=Axis(label="0.8 of the copy's lifetime less its age at the write (s)"),
        y=Axis(label="inconsistency window (s)"),
        lines=(
            Line(name="measured", points=tuple(Point(x=x, y=y) for x, y in points)),
            Line(
                name="predicted", points=tuple(Point(x=one, y=one) for one in ends), predicted=True
            ),
        ),
    )
