from typing import Literal, cast

SignalStreamStatus = Literal["disabled", "enabled", "paused", "unknown"]


def check_signal_stream_status(value: str) -> SignalStreamStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(SignalStreamStatus, value)
