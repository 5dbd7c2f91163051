from typing import Literal, cast

SignalStreamError = Literal["keys", "refused", "unreachable", "unsealed", "verification"]


def check_signal_stream_error(value: str) -> SignalStreamError:
    """A newer service may know more values than these: they come through as they are."""
    return cast(SignalStreamError, value)
