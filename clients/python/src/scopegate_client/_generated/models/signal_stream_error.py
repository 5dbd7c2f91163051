from typing import Literal, cast

SignalStreamError = Literal["decryption_failed", "keys_unavailable", "refused", "unreachable", "verification"]


def check_signal_stream_error(value: str) -> SignalStreamError:
    """A newer service may know more values than these: they come through as they are."""
    return cast(SignalStreamError, value)
