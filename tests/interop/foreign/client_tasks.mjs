// A client on the TypeScript SDK that runs tools as tasks (2025-11-25), with URL and SCOPEGATE_TOKEN in the environment.
// It tells what it sees, one JSON value to a line: each state of a task as the SDK streams it, whether it was told of
// the task by its id, then how a second task ends that is called off.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CallToolResultSchema,
  ElicitRequestSchema,
  TaskStatusNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const NAME = "simulate-research-query";
const say = (value) => console.log(JSON.stringify(value));
const token = process.env.SCOPEGATE_TOKEN;
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const client = new Client(
  { name: "tasks", version: "1" },
  { capabilities: { elicitation: { form: {} }, sampling: {}, roots: {} } },
);
const told = new Set();
client.setNotificationHandler(TaskStatusNotificationSchema, ({ params }) => told.add(params.taskId));
client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
  say({ asked: params.message, related: Object.keys(params._meta ?? {}) });
  return { action: "accept", content: { interpretation: "snake" } };
});
await client.connect(new StreamableHTTPClientTransport(new URL(process.env.URL), { requestInit: { headers } }));
say({ tasks: client.getServerCapabilities().tasks });
await client.listTools();

let id;
const query = (topic) => ({ name: NAME, arguments: { topic, ambiguous: true } });
for await (const message of client.experimental.tasks.callToolStream(query("python"), CallToolResultSchema)) {
  id = message.task?.taskId ?? id;
  const { type, task, result, error } = message;
  say({ type, status: task?.status, same: task?.taskId === id, text: result?.content[0].text, error: error?.message });
}
say({ told: told.has(id) });

const created = await client
  .experimental.tasks.callToolStream(query("java"), CallToolResultSchema)
  .next();
const cancelled = await client.experimental.tasks.cancelTask(created.value.task.taskId);
say({ cancelled: cancelled.status, same: cancelled.taskId === created.value.task.taskId });
const refused = await client.experimental.tasks.getTask("nobody's").catch((error) => error);
say({ code: refused.code });
await client.close();
