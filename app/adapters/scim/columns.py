"""SCIM attributes in the database: an SQL expression for each attribute of users and groups.

Attributes without a column are in a JSON document under their SCIM names. A ``Source`` is a resource type: it reads an
attribute of its model as a ``Value``, ``Complex`` or ``Many``. Only names from our schemas appear in the SQL; all that
a client sends is a parameter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import isclass
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic import EmailStr
from scim2_models import ComplexAttribute, Extension, InvalidFilterException, Resource
from scim2_models.path import AttributeBinding
from sqlalchemy.dialects.postgresql import BIT, JSONB, aggregate_order_by

from app.lib.ids import GROUP, IDENTITY
from app.models.base import metadata
from app.models.identities import Group, GroupMember, Identity, ScimUser

Kind = Literal["text", "id", "bool", "time"]

# Resources of several types are sorted by the text of their ids, where grp_ precedes idn_.
GROUP_RANK = 0
USER_RANK = 1

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LETTERS = 26
USERS = metadata.tables[ScimUser.__tablename__]
IDENTITIES = metadata.tables[Identity.__tablename__]
GROUPS = metadata.tables[Group.__tablename__]
MEMBERS = metadata.tables[GroupMember.__tablename__]


@dataclass(frozen=True, slots=True)
class Value:
    """An attribute with one plain value. For an id, ``uuid`` is the column behind its text."""

    expression: sa.ColumnElement[Any]
    kind: Kind
    uuid: sa.ColumnElement[Any] | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Complex:
    """An attribute with sub-attributes; ``exists`` tells whether a resource has it."""

    exists: sa.ColumnElement[bool]
    parts: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Many:
    """The values of a multi-valued attribute, one row each, filtered by ``where``.

    ``parts`` are the sub-attributes by name; a plain value is the part ``value``. ``order`` sorts the values. ``equal``
    finds resources with a value by an index.
    """

    rows: sa.FromClause
    parts: Mapping[str, Value]
    order: tuple[sa.ColumnElement[Any], ...]
    where: sa.ColumnElement[bool] = field(default_factory=sa.true)
    equal: Callable[[str], sa.ColumnElement[bool]] | None = None


Attribute = Value | Complex | Many


@dataclass(frozen=True, slots=True)
class Source:
    """A resource type of one provider: its rows and how to read its attributes."""

    model: type[Resource[Any]]
    rank: int
    """The position of the type when resources are sorted by id."""
    id: sa.ColumnElement[Any]
    where: sa.ColumnElement[bool]
    read: Callable[[AttributeBinding], Attribute]
    joined: tuple[sa.FromClause, sa.ColumnElement[bool]] | None = None
    """A table with its join condition, only joined if an attribute needs it, so that other queries use an index."""


def users(provider_id: UUID, model: type[Resource[Any]]) -> Source:
    """The provider's provisioned users that are not deleted."""
    joined = (IDENTITIES, IDENTITIES.c.id == USERS.c.identity_id)
    where = sa.and_(USERS.c.provider_id == provider_id, USERS.c.deleted_at.is_(None))
    read = partial(_read_user, provider_id=provider_id)
    return Source(model, USER_RANK, USERS.c.identity_id, where, read, joined)


def groups(provider_id: UUID, model: type[Resource[Any]]) -> Source:
    """The provider's provisioned groups that are not deleted."""
    where = live_groups(GROUPS, provider_id)
    read = partial(_read_group, provider_id=provider_id)
    return Source(model, GROUP_RANK, GROUPS.c.id, where, read)


def live_groups(table: sa.FromClause, provider_id: UUID) -> sa.ColumnElement[bool]:
    """The condition on ``groups`` (or an alias of it) for live groups of a provider."""
    return sa.and_(
        table.c.provider_id == provider_id,
        # Repeats the condition in the form of the name index.
        sa.func.coalesce(sa.cast(table.c.provider_id, sa.Text), sa.literal_column("''")) == str(provider_id),
        table.c.source == sa.literal_column("'scim'"),
        table.c.ended_at.is_(None),
    )


def name_column(table: sa.FromClause) -> sa.ColumnElement[str]:
    """The display name of a user in references, from a row of ``scim_users`` (or an alias of it)."""
    profile = table.c.profile
    names = (_text_in(profile, "displayName"), _text_in(_in(profile, "name"), "formatted"))
    return sa.func.coalesce(*(sa.func.nullif(name, "") for name in names), table.c.user_name)


def id_value(prefix: str, id: sa.ColumnElement[Any]) -> Value:
    """An id. Its text (Crockford's base32 of 128 bits) is only computed if a comparison is not one of UUIDs."""
    digits = sa.func.replace(sa.cast(id, sa.Text), "-", "")
    bits = sa.literal_column("B'00'").op("||")(sa.cast(sa.func.concat("x", digits), BIT(128)))
    letter = sa.func.generate_series(0, _ID_LETTERS - 1).column_valued()
    five = sa.func.substring(bits, letter * 5 + 1, 5)
    character = sa.func.substr(_ALPHABET, sa.cast(five, sa.Integer) + 1, 1)
    letters = sa.select(sa.func.string_agg(character, aggregate_order_by(sa.literal_column("''"), letter)))
    return Value(sa.literal(f"{prefix}_").op("||")(letters.scalar_subquery()), "id", id, prefix)


def _read_user(binding: AttributeBinding, provider_id: UUID) -> Attribute:
    if issubclass(binding.model, Extension):
        return _in_document(binding, _in(USERS.c.profile, str(binding.model.__schema__)))
    columns: dict[str, Callable[[], Attribute]] = {
        "id": lambda: id_value(IDENTITY, USERS.c.identity_id),
        "external_id": lambda: Value(USERS.c.external_id, "text"),
        "user_name": lambda: Value(USERS.c.user_name, "text"),
        "active": lambda: Value(IDENTITIES.c.status == "active", "bool"),
        "meta": lambda: _meta(IDENTITIES, "User"),
        "schemas": lambda: _schemas(binding.model, USERS.c.profile),
        "groups": lambda: _groups_of_user(provider_id),
    }
    read = columns.get(binding.field_name)
    return _in_document(binding, USERS.c.profile) if read is None else read()


def _read_group(binding: AttributeBinding, provider_id: UUID) -> Attribute:
    columns: dict[str, Callable[[], Attribute]] = {
        "id": lambda: id_value(GROUP, GROUPS.c.id),
        "external_id": lambda: Value(GROUPS.c.external_id, "text"),
        "display_name": lambda: Value(GROUPS.c.name, "text"),
        "meta": lambda: _meta(GROUPS, "Group"),
        "schemas": lambda: _schemas(binding.model, None),
        "members": lambda: _members_of_group(provider_id),
    }
    read = columns.get(binding.field_name)
    if read is None:
        raise InvalidFilterException(detail=f"Filters and sorting cannot use '{binding.urn}'")
    return read()


def _members_of_group(provider_id: UUID) -> Many:
    """The provider's users that are members of a group."""
    members, people = MEMBERS.alias(), USERS.alias()
    rows = members.join(people, people.c.identity_id == members.c.identity_id)
    where = sa.and_(
        members.c.group_id == GROUPS.c.id, people.c.provider_id == provider_id, people.c.deleted_at.is_(None)
    )
    parts = _references("Users", id_value(IDENTITY, members.c.identity_id), name_column(people), "User")
    return Many(rows, parts, (members.c.identity_id,), where)


def _groups_of_user(provider_id: UUID) -> Many:
    members, theirs = MEMBERS.alias(), GROUPS.alias()
    rows = members.join(theirs, theirs.c.id == members.c.group_id)
    where = sa.and_(members.c.identity_id == USERS.c.identity_id, live_groups(theirs, provider_id))
    parts = _references("Groups", id_value(GROUP, theirs.c.id), theirs.c.name, "direct")
    return Many(rows, parts, (theirs.c.name, theirs.c.id), where)


def _references(endpoint: str, id: Value, name: sa.ColumnElement[str], type: str) -> dict[str, Value]:
    address = Value(sa.literal(f"{endpoint}/").op("||")(id.expression), "text")
    return {"value": id, "display": Value(name, "text"), "type": _constant(type), "$ref": address}


def _meta(table: sa.FromClause, name: str) -> Complex:
    # A version depends on more than one row and is only for If-Match.
    parts = {
        "resourceType": _constant(name),
        "created": Value(table.c.created_at, "time"),
        "lastModified": Value(table.c.updated_at, "time"),
        # Only the service knows the location.
        "location": Value(sa.cast(sa.null(), sa.Text), "text"),
    }
    return Complex(sa.true(), parts)


def _schemas(model: type[Any], profile: sa.ColumnElement[Any] | None) -> Many:
    own = sa.literal([str(model.__schema__)], sa.ARRAY(sa.Text))
    urns: sa.ColumnElement[Any] = own
    if profile is not None:
        for urn in model.get_extension_models():
            more = sa.func.array_append(urns, urn)
            urns = sa.case((_in(profile, urn).is_not(None), more), else_=urns)
    rows = sa.func.unnest(urns).table_valued("value", with_ordinality="place").render_derived()
    return Many(rows, {"value": Value(rows.c.value, "text")}, (rows.c.place,))


def _in_document(binding: AttributeBinding, document: sa.ColumnElement[Any]) -> Attribute:
    name = binding.urn.rpartition(":")[2].partition(".")[0]
    kinds = _kinds_of_parts(binding)
    if binding.is_multivalued and kinds:
        rows = sa.func.jsonb_array_elements(_in(document, name)).table_valued(
            sa.column("value", JSONB), with_ordinality="place"
        )
        rows = rows.render_derived()
        parts = {part: _value(rows.c.value, part, kind) for part, kind in kinds.items()}
        order: tuple[sa.ColumnElement[Any], ...] = (rows.c.place,)
        if "primary" in parts:
            order = (sa.func.coalesce(parts["primary"].expression, sa.literal_column("false")).desc(), *order)
        return Many(rows, parts, order, equal=_has_email if name == "emails" else None)
    if kinds:
        inside = _in(document, name)
        return Complex(
            inside.is_not(None), {part: _value(inside, part, kind) for part, kind in kinds.items()}
        )
    kind = _kind(binding.field_type)
    if kind is None or binding.is_multivalued:
        raise InvalidFilterException(detail=f"Filters and sorting cannot use '{binding.urn}'")
    return _value(document, name, kind)


def _has_email(address: str) -> sa.ColumnElement[bool]:
    addresses = sa.func.jsonb_path_query_array(USERS.c.profile, sa.literal_column("'$.emails[*].value'"))
    lowered = sa.cast(sa.func.lower(sa.cast(addresses, sa.Text)), JSONB)
    return lowered.op("@>", is_comparison=True)(
        sa.func.jsonb_build_array(sa.func.lower(sa.literal(address, sa.Text)))
    )


def _kinds_of_parts(binding: AttributeBinding) -> dict[str, Kind]:
    """The kinds of a complex attribute's sub-attributes by name; other types are left out."""
    model = binding.field_type
    if not (isclass(model) and issubclass(model, ComplexAttribute)):
        return {}
    kinds = {
        field.serialization_alias or name: _kind(model.get_field_root_type(name))
        for name, field in model.model_fields.items()
    }
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _value(document: sa.ColumnElement[Any], name: str, kind: Kind) -> Value:
    text = _text_in(document, name)
    return Value(sa.cast(text, sa.Boolean) if kind == "bool" else text, kind)


def _in(document: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[Any]:
    # A literal, not a parameter, so that an index on the expression can be used.
    return document.op("->", return_type=JSONB())(sa.literal_column(f"'{name}'"))


def _text_in(document: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[Any]:
    return document.op("->>", return_type=sa.Text())(sa.literal_column(f"'{name}'"))


def _constant(value: str) -> Value:
    return Value(sa.literal(value, sa.Text), "text")


def _kind(type: Any) -> Kind | None:
    if not isclass(type):
        return None
    if issubclass(type, bool):
        return "bool"
    return "text" if issubclass(type, str | EmailStr) else None
