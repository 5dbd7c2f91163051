from typing import Literal, cast

ScheduledOffboardingStatus = Literal["cancelled", "completed", "pending"]


def check_scheduled_offboarding_status(value: str) -> ScheduledOffboardingStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ScheduledOffboardingStatus, value)
