"""Response models of your own tokens."""

from pydantic import ConfigDict, Field

from app.features.tokens.schemas import PickupView, TokenView
from app.http.schemas import Strict


class OwnPickupView(Strict):
    """A pickup link as its recipient sees it, with its token."""

    model_config = ConfigDict(extra="forbid", title="OwnTokenPickup")

    pickup: PickupView
    token: TokenView = Field(description="The token of the secret.")
