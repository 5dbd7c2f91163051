"""Answer models of checkpoints of the sealed log, and of proofs."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.http.schemas import Strict
from app.lib.ids import EventId

_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
_NOTE = (
    "gateway.example.com/audit\n8\nXcnaeacGWamtVZy3Ad7Zoqudgjqi9JYM/jcO/0YEMyg=\n\n"
    "— gateway.example.com/audit AJ3g9c0xm...\n"
)

TreeHash = TypeAliasType(
    "TreeHash",
    Annotated[
        str,
        StringConstraints(pattern="^[0-9a-f]{64}$"),
        Field(description="A hash of the log's tree (RFC 9162 section 2.1), in hex.", examples=[_ROOT]),
    ],
)
CheckpointNote = TypeAliasType(
    "CheckpointNote",
    Annotated[
        str,
        Field(
            description="The signed note of a checkpoint, as C2SP's tlog-checkpoint has it.", examples=[_NOTE]
        ),
    ],
)


class AuditCheckpointView(Strict):
    """A signed root over all events that were sealed by then. Keep some where nobody of here can change them."""

    model_config = ConfigDict(extra="forbid", title="AuditCheckpoint")

    tree_size: int = Field(description="How many events it seals: those at positions below it.", examples=[8])
    epoch: int = Field(description="The epoch of the log that the last of them is of.", examples=[1])
    root_hash: TreeHash
    note: CheckpointNote
    created_at: datetime = Field(description="When it was signed.")


class AuditLogKey(Strict):
    """A public key to check signatures of checkpoints with."""

    vkey: str = Field(
        description="The key as C2SP's signed-note has it: the log's name, the key's id, and the key.",
        examples=["gateway.example.com/audit+4e7a9c21+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"],
    )
    signs: bool = Field(
        description="Whether it is the one that signs now; others check what they once signed."
    )


class AuditLogKeys(Strict):
    """The name of the log in its checkpoints, and its keys."""

    origin: str = Field(description="What the log is called.", examples=["gateway.example.com/audit"])
    items: list[AuditLogKey] = Field(description="Its keys, newest first.")


class AuditConsistencyProof(Strict):
    """That a log begins with what it was (RFC 9162 section 2.1.4)."""

    old_size: int = Field(description="How many events it had.", examples=[6])
    tree_size: int = Field(description="How many it has.", examples=[8])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, from the leaves up.")


class AuditRangeProof(Strict):
    """What leads from the leaves of a range to the root of a checkpoint: the hashes beside it, left to right.

    As a file it is what `scopegate audit verify --proof` takes for exported leaves.
    """

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    first: int = Field(alias="from", description="The position of the first leaf.", examples=[2])
    end: int = Field(alias="to", description="The position after that of the last leaf.", examples=[6])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, left to right.")


class AuditEventProof(Strict):
    """That the log of a checkpoint has an event (RFC 9162 section 2.1.3).

    As a file it is what `scopegate audit verify --proof` takes.
    """

    event_id: EventId
    position: int = Field(description="Where the event is in the log, from 0.", examples=[5])
    leaf: str = Field(
        description="What was sealed of it: the stored row as one line of JSON, whose bytes are hashed.",
        examples=[
            '{"action":"token.issue","epoch":1,"id":"01936d5e-7c00-7000-8000-000000000000","seq":6,"xact":812}'
        ],
    )
    leaf_hash: TreeHash
    tree_size: int = Field(description="How many events the checkpoint seals.", examples=[8])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, from the leaf up.")
