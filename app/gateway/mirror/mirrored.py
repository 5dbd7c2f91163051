"""What all requests through mirrors have in common."""

from dataclasses import dataclass

from app.admission.store import SyncRequests
from app.gateway.approvals import Approvals
from app.gateway.open_streams import OpenStreams
from app.gateway.pipeline import Pipeline
from app.gateway.questions import QuestionRules
from app.gateway.running_calls import RunningCalls
from app.gateway.server_requests import ServerRequests
from app.gateway.sessions import SessionSealer
from app.gateway.tasks import Tasks
from app.gateway.times import CallTimes
from app.outbound.http import OutboundClient


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What every request through a mirror needs."""

    pipeline: Pipeline
    outbound: OutboundClient
    sealer: SessionSealer
    sync_requests: SyncRequests
    requests: ServerRequests
    tasks: Tasks
    streams: OpenStreams
    times: CallTimes
    running: RunningCalls
    approvals: Approvals
    questions: QuestionRules
