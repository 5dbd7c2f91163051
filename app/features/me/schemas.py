"""Answer models of a person's own tokens."""

from pydantic import ConfigDict, Field

from app.features.tokens.schemas import PickupView, TokenView
from app.http.schemas import Strict


class OwnPickupView(Strict):
    """A pick-up link as its recipient sees it, with the token that it is for."""

    model_config = ConfigDict(extra="forbid", title="OwnTokenPickup")

    pickup: PickupView
    token: TokenView = Field(description="What the secret will open, and until when.")
