"""Looking at the text of a policy: what forbids to keep it, and what whoever writes it should know."""

import asyncio
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.checking import Report, check_types, reads_arguments
from app.access.policy.schema import MOST_TOOLS, StoredTool, reached_tools, unknown_names
from app.access.policy.statement import Finding, Refused, Statement, odd, read_statement
from app.domain.errors import FieldError, Invalid
from app.features.policies.schemas import PolicyWarning


async def check_text(session: AsyncSession, text: str) -> None:
    """Raise ``Invalid`` for a text that may not be kept or published."""
    report = await _report(session, text)
    if report.errors:
        raise _invalid(text, report.errors)


async def warnings_about(
    session: AsyncSession, text: str, *, permits_by_default: bool
) -> list[PolicyWarning]:
    """All that there is to say of a text that is kept, as things are now."""
    report = await _report(session, text)
    if permits_by_default and report.permits:
        detail = "Grants permit by themselves, so this changes nothing: SCOPEGATE_POLICY_DEFAULT is permit."
        report.warnings.append(Finding("permit_without_effect", detail, 0))
    return _shown(text, [*report.errors, *report.warnings])


async def _report(session: AsyncSession, text: str) -> Report:
    try:
        statement = await asyncio.to_thread(read_statement, text)
    except Refused as refused:
        return Report(errors=refused.findings)
    tools: list[StoredTool] = []
    more = False
    if reads_arguments(statement):
        tools, more = await reached_tools(session, statement)
    report = await asyncio.to_thread(_check, statement, tools)
    if more:
        detail = (
            f"This reaches more than {MOST_TOOLS} tools; against the schemas of the rest it was not checked."
        )
        report.warnings.append(Finding("not_all_checked", detail, statement.parts.start))
    report.warnings += await unknown_names(session, statement)
    return report


def _check(statement: Statement, tools: Sequence[StoredTool]) -> Report:
    report = check_types(statement, [tool.known() for tool in tools])
    report.permits = statement.policy.effect == "permit"
    report.warnings += odd(statement)
    return report


def _invalid(text: str, findings: Sequence[Finding]) -> Invalid:
    errors = []
    for finding in findings:
        line, column = finding.place(text)
        errors.append(FieldError("/text", finding.code, finding.detail, line, column))
    first = errors[0]
    return Invalid(
        f"The policy does not hold, at line {first.line}, column {first.column}: {first.detail}",
        errors=errors,
    )


def _shown(text: str, findings: Sequence[Finding]) -> list[PolicyWarning]:
    shown = []
    for finding in sorted(findings, key=lambda finding: finding.offset):
        line, column = finding.place(text)
        shown.append(PolicyWarning(code=finding.code, detail=finding.detail, line=line, column=column))
    return shown
