import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { type TestContext, test } from "node:test";
import { fastClock } from "#test/support/fast-clock.ts";
import { bodyOf, startServer } from "#test/support/http-server.ts";
import { CONFIG_MAPS, isNotFound, KubeApiError, NODES, PODS } from "./client.ts";
import type { KubeConfig } from "./config.ts";
import { createKubeClient, type KubeClientOptions } from "./rest.ts";

async function clientOf(
  t: TestContext,
  listener: RequestListener,
  more: Partial<KubeConfig> = {},
  options: Partial<KubeClientOptions> = {},
) {
  const server = await startServer(listener);
  const config = { source: "test", server: server.url, tls: {}, namespace: "default", ...more };
  if (more.server !== undefined) Object.assign(config, { server: server.url + more.server });
  const client = createKubeClient({ config, clock: fastClock(100), ...options });
  t.after(async () => {
    await client.close();
    await server.close();
  });
  return client;
}

const json =
  (body: unknown): RequestListener =>
  (_request, response) => {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  };

test("each verb has its method, path, query and content type", async (t) => {
  const seen: string[] = [];
  const client = await clientOf(t, async (request, response) => {
    const body = await bodyOf(request);
    const type = request.headers["content-type"] ?? "";
    seen.push(`${request.method} ${request.url} ${type} ${body}`.trim());
    response
      .writeHead(200)
      .end(JSON.stringify({ metadata: {}, items: [{ metadata: { name: "a" } }] }));
  });
  const name = { namespace: "ns", name: "a" };
  const object = { metadata: name };
  await client.get(CONFIG_MAPS, name);
  const list = await client.list(CONFIG_MAPS, { labelSelector: "a=b,c", limit: 2, continue: "x" });
  assert.deepEqual(list.items[0], { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" } });
  await client.list(NODES, { namespace: "ignored" });
  await client.create(CONFIG_MAPS, object, { fieldManager: "me" });
  await client.update(PODS, { ...object, spec: { containers: [] } }, { subresource: "status" });
  await client.patch(CONFIG_MAPS, name, "json", []);
  await client.apply(CONFIG_MAPS, object, { fieldManager: "me" });
  await client.delete(CONFIG_MAPS, name, { uid: "u", propagationPolicy: "Background" });
  const own = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"ns","name":"a"}}';
  assert.deepEqual(seen, [
    "GET /api/v1/namespaces/ns/configmaps/a",
    "GET /api/v1/configmaps?labelSelector=a%3Db%2Cc&limit=2&continue=x",
    "GET /api/v1/nodes",
    `POST /api/v1/namespaces/ns/configmaps?fieldManager=me application/json ${own}`,
    'PUT /api/v1/namespaces/ns/pods/a/status application/json {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"ns","name":"a"},"spec":{"containers":[]}}',
    "PATCH /api/v1/namespaces/ns/configmaps/a application/json-patch+json []",
    `PATCH /api/v1/namespaces/ns/configmaps/a?fieldManager=me&force=true application/apply-patch+yaml ${own}`,
    'DELETE /api/v1/namespaces/ns/configmaps/a application/json {"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","preconditions":{"uid":"u"}}',
  ]);
});

test("a server's address may have a path", async (t) => {
  let url = "";
  const client = await clientOf(
    t,
    (request, response) => {
      url = request.url ?? "";
      response.end("{}");
    },
    { server: "/k8s/clusters/one/" },
  );
  await client.get(PODS, { namespace: "a", name: "b" });
  assert.equal(url, "/k8s/clusters/one/api/v1/namespaces/a/pods/b");
});

test("a Status becomes a KubeApiError, and so does any other refusal", async (t) => {
  const client = await clientOf(t, (request, response) => {
    if (request.url?.endsWith("/a") === true) {
      const status = {
        kind: "Status",
        code: 404,
        reason: "NotFound",
        message: 'pods "a" not found',
      };
      response.writeHead(404).end(JSON.stringify(status));
    } else response.writeHead(502).end("<html>Bad Gateway</html>");
  });
  await assert.rejects(client.get(PODS, { namespace: "x", name: "a" }), (error) => {
    assert.ok(isNotFound(error));
    return (error as Error).message === 'pods "a" not found';
  });
  await assert.rejects(client.get(PODS, { namespace: "x", name: "b" }), (error) => {
    assert.ok(error instanceof KubeApiError);
    return error.code === 502 && error.message === "<html>Bad Gateway</html>";
  });
});

test("a busy server's Retry-After is waited for, writes included, but not for ever", async (t) => {
  let calls = 0;
  let busy = 2;
  const client = await clientOf(t, (_request, response) => {
    calls++;
    if (calls <= busy) response.writeHead(429, { "retry-after": "1" }).end("busy");
    else response.end("{}");
  });
  await client.create(CONFIG_MAPS, { metadata: { namespace: "a", name: "b" } });
  assert.equal(calls, 3);
  busy = 1000;
  await assert.rejects(
    client.get(PODS, { namespace: "a", name: "b" }),
    (error) => error instanceof KubeApiError && error.code === 429 && error.retryAfterMs === 1000,
  );
  assert.ok(calls < 15, String(calls));
});

test("a read survives a connection that the server drops, a write is not repeated", async (t) => {
  let calls = 0;
  const client = await clientOf(t, (request, response) => {
    calls++;
    if (calls === 1 || request.method === "POST") request.socket.destroy();
    else response.end("{}");
  });
  await client.get(PODS, { namespace: "a", name: "b" });
  assert.equal(calls, 2);
  await assert.rejects(client.create(CONFIG_MAPS, { metadata: { namespace: "a", name: "b" } }));
  assert.equal(calls, 3);
});

test("a request that is not answered ends in a timeout, an aborted one at once", async (t) => {
  const client = await clientOf(t, () => {}, {}, { requestTimeoutMs: 2_000 });
  await assert.rejects(client.get(PODS, { namespace: "a", name: "b" }), {
    name: "TimeoutError",
    message: "timeout: no answer to GET /api/v1/namespaces/a/pods/b within 2000 ms",
  });
  await assert.rejects(
    client.get(PODS, { namespace: "a", name: "b" }, AbortSignal.abort(new Error("stop"))),
    /stop/,
  );
});

test("the Authorization header is asked for each time and forgotten after a 401", async (t) => {
  let serial = 0;
  let forgotten = 0;
  const seen: (string | undefined)[] = [];
  const client = await clientOf(
    t,
    (request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(seen.length === 1 ? 401 : 200).end("{}");
    },
    {
      authorization: () => Promise.resolve(`Bearer ${++serial}`),
      forgetAuthorization: () => void forgotten++,
    },
  );
  await assert.rejects(client.get(PODS, { namespace: "a", name: "b" }), { code: 401 });
  await client.get(PODS, { namespace: "a", name: "b" });
  assert.deepEqual(seen, ["Bearer 1", "Bearer 2"]);
  assert.equal(forgotten, 1);
});

test("a rate limit spreads requests", async (t) => {
  const clock = fastClock(100);
  const client = await clientOf(t, json({}), {}, { clock, rateLimit: { qps: 10, burst: 2 } });
  const startedMs = clock.now();
  await Promise.all(
    Array.from({ length: 7 }, () => client.get(PODS, { namespace: "a", name: "b" })),
  );
  assert.ok(clock.now() - startedMs >= 400, "five requests beyond the burst take half a second");
});

test("a watch yields whole events however the bytes arrive, and drops a half one at the end", async (t) => {
  const line = `${JSON.stringify({ type: "ADDED", object: { metadata: { name: "größe" } } })}\n`;
  const bytes = Buffer.from(`${line}${line}`);
  const client = await clientOf(t, (_request, response) => {
    response.writeHead(200);
    let at = 0;
    const next = () => {
      if (at >= bytes.length) response.end('{"type":"ADDED","obj');
      else response.write(bytes.subarray(at, ++at), next);
    };
    next();
  });
  const names: string[] = [];
  for await (const event of client.watch(PODS, {}, new AbortController().signal)) {
    names.push(event.object.metadata.name);
  }
  assert.deepEqual(names, ["größe", "größe"]);
});

test("an ERROR event is thrown, a line that is no event too", async (t) => {
  const status = { kind: "Status", code: 410, reason: "Expired", message: "too old" };
  let body = `${JSON.stringify({ type: "ERROR", object: status })}\n`;
  const client = await clientOf(t, (_request, response) => void response.end(body));
  const drain = async () => {
    for await (const _ of client.watch(PODS, {}, new AbortController().signal));
  };
  await assert.rejects(drain(), { code: 410, reason: "Expired" });
  body = "nonsense\n";
  await assert.rejects(drain(), SyntaxError);
});

test("who stops reading a watch, or aborts it, closes its connection", async (t) => {
  const closed: Promise<void>[] = [];
  const client = await clientOf(t, (_request, response) => {
    closed.push(new Promise((resolve) => response.once("close", resolve)));
    response.write(`${JSON.stringify({ type: "ADDED", object: { metadata: { name: "a" } } })}\n`);
  });
  for await (const _ of client.watch(PODS, {}, new AbortController().signal)) break;
  const stop = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of client.watch(PODS, {}, stop.signal)) stop.abort(new Error("enough"));
  }, /enough/);
  assert.equal(closed.length, 2);
  await Promise.all(closed);
});
