"""Query and answer models of the access matrix."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.access.reach import MOST_IDENTITIES, MOST_SERVERS, Row
from app.domain.reach import Tally
from app.http.schemas import Strict
from app.lib.ids import IdentityId, ServerId

_CELL: JsonDict = {
    "server_id": "srv_01jdpnwz00e008000000000000",
    "reached": True,
    "tools": 7,
    "approval_required": 1,
    "destructive": 1,
    "is_whole": True,
}
_ROW: JsonDict = {"identity_id": "idn_01jdpnwz00e008000000000000", "stopped": None, "cells": [_CELL]}


class AccessMatrixQuery(Strict):
    """Whose access to what: the rows and the columns, each by its ids."""

    identity_id: list[IdentityId] = Field(
        min_length=1, max_length=MOST_IDENTITIES, description=f"The rows, at most {MOST_IDENTITIES}."
    )
    server_id: list[ServerId] = Field(
        min_length=1, max_length=MOST_SERVERS, description=f"The columns, at most {MOST_SERVERS}."
    )


class AccessMatrixCell(Strict):
    """How much of a server an identity reaches now. A token reaches as much at most."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CELL]})

    server_id: ServerId
    reached: bool = Field(
        description="Whether the server is within reach, be it with no tool that is active."
    )
    tools: int = Field(
        description="How many of its tools can be called, those included that need an approval."
    )
    approval_required: int = Field(description="Of those, how many somebody has to approve at each call.")
    destructive: int = Field(description="Of those, how many are destructive.")
    is_whole: bool = Field(
        description="Whether all of its tools were looked at. A large matrix looks at the first of many, by name."
    )

    @classmethod
    def of(cls, server_id: UUID, found: Tally) -> Self:
        """As the answer says it."""
        return cls(
            server_id=server_id,
            reached=found.reached,
            tools=found.tools,
            approval_required=found.approval_required,
            destructive=found.destructive,
            is_whole=found.is_whole,
        )


class AccessMatrixRow(Strict):
    """What one identity reaches of each server."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_ROW]})

    identity_id: IdentityId
    stopped: str | None = Field(
        description="Why none of its grants is effective: `identity_suspended`, `identity_offboarded`, or, for an "
        "agent, `owner_suspended`, `owner_offboarded`. Null when they are.",
        examples=["identity_suspended"],
    )
    cells: list[AccessMatrixCell] = Field(description="In the order of the servers that were asked for.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """As the answer says it."""
        cells = [AccessMatrixCell.of(id, found) for id, found in row.tallies]
        return cls(identity_id=row.identity_id, stopped=row.stopped, cells=cells)


class AccessMatrix(Strict):
    """Who reaches how much of what. Identities and servers that there are not are left out."""

    model_config = ConfigDict(extra="forbid")

    at: datetime = Field(description="The moment that it is true of, by the database's clock.")
    items: list[AccessMatrixRow] = Field(description="In the order of the identities that were asked for.")
