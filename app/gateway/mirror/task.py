"""A request about a task, on its way through a mirror: decided as a call of the task's tool is."""

from mcp.shared.inbound import encode_header_value

from app.admission.store import UpstreamTarget, View
from app.gateway.asking import Ask
from app.gateway.mirror.call import MirrorCall
from app.gateway.pipeline import Denied, Passed, reaches
from app.gateway.tasks import missing_tasks, unknown_task
from app.gateway.wire.envelope import CAPABILITIES_KEY, NAME
from app.gateway.wire.methods import Method, carried_extensions
from app.gateway.wire.questions import client_of
from app.gateway.wire.refusals import no_such_server


class MirrorTask(MirrorCall):
    """One such request, from its decision to its answer."""

    __slots__ = ()

    async def run(self, view: View, method: Method) -> None:
        """Decide, admit, forward, answer."""
        message, exchange = self.message, self.exchange
        self._declare()
        ask = Ask(method.action, message.method, self.slug, exchange.address)
        if self._open(view):
            self._open_related(view)
            ask.tool = self.tool
        else:
            ask.refused = "task_unknown"
        pipeline, client = self.mirror.pipeline, client_of(exchange, message)
        try:
            await pipeline.run(exchange, view, ask, self._forward, check=self._check, client=client)
        except Denied as denied:
            at = pipeline.snapshots.now()
            if not reaches(denied.view, self.slug, at, exchange.address):
                raise no_such_server() from None
            if message.modern and not carried_extensions(message.params["_meta"][CAPABILITIES_KEY]):
                raise missing_tasks() from None
            raise unknown_task(message.modern) from None

    def _open(self, view: View) -> bool:
        """Whether it is a task of this token at this server; then the message bears the server's own id."""
        server, params = view.servers.get(self.slug), self.message.params
        task = None
        if server is not None:
            task = self.mirror.tasks.open(view.token.id, server.id, params.get("taskId"))
        if task is None:
            return False
        self.tool = task.tool
        params["taskId"] = task.id
        return True

    def _headers(self, target: UpstreamTarget, passed: Passed | None = None) -> list[tuple[bytes, bytes]]:
        """Whose ``Mcp-Name`` is the task's id, by which requests find the machine that has the task."""
        headers = [(name, value) for name, value in super()._headers(target, passed) if name != NAME]
        if self.message.modern:
            headers.append((NAME, encode_header_value(self.message.params["taskId"]).encode("ascii")))
        return headers
