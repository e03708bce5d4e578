import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, get, type IncomingMessage, type RequestListener, request } from "node:http";
import { get as getTls } from "node:https";
import { type TestContext, test } from "node:test";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { UserError } from "#base/errors.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { bodyOf } from "#test/support/http-server.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { formatAddress, parseListenAddress } from "./address.ts";
import { BodyTooLarge, readBody } from "./body.ts";
import { probesFetch } from "./probes.ts";
import { requestUrl } from "./request-url.ts";
import { type ListenOptions, listen, type TlsFiles } from "./server.ts";

async function serve(
  t: TestContext,
  handler: ListenOptions["handler"],
  more: Partial<ListenOptions> = {},
) {
  const stop = new AbortController();
  const base = { host: "127.0.0.1", port: 0, title: "the test", cure: "set --port", drainMs: 0 };
  const log = silentLog;
  const server = await listen({ ...base, handler, log, clock: systemClock, ...more }, stop.signal);
  t.after(async () => {
    stop.abort();
    await server.closed;
  });
  return { server, stop, url: `http://127.0.0.1:${server.port}` };
}

const answered = async (url: string, agent?: Agent) => {
  const [response] = (await once(get(url, agent === undefined ? {} : { agent }), "response")) as [
    IncomingMessage,
  ];
  return { response, body: await bodyOf(response) };
};

test("addresses: host, port, both, IPv6, off", () => {
  const parse = (text: string) => parseListenAddress("--metrics-bind-address", text, "127.4.5.6");
  assert.deepEqual(parse(":8081"), { host: "127.4.5.6", port: 8081 });
  assert.deepEqual(parse("8081"), { host: "127.4.5.6", port: 8081 });
  assert.deepEqual(parse("0.0.0.0:80"), { host: "0.0.0.0", port: 80 });
  assert.deepEqual(parse("[::1]:0"), { host: "::1", port: 0 });
  assert.deepEqual(parseListenAddress("--x", ":1"), { host: "", port: 1 });
  assert.equal(parse("0"), undefined);
  for (const text of ["", "x", ":x", ":99999", "a:b:1", "http://x:1", "host:"]) {
    assert.throws(() => parse(text), UserError, text);
  }
  assert.equal(formatAddress({ host: "::1", port: 1 }), "[::1]:1");
  assert.equal(formatAddress({ host: "", port: 1 }), "*:1");
});

test("a taken port is one sentence with the address and the cure", async (t) => {
  const { server } = await serve(t, () => {});
  await assert.rejects(
    serve(t, () => {}, { port: server.port }),
    {
      name: "UserError",
      message: `the test cannot listen on 127.0.0.1:${server.port}: another process uses the port; stop that process or set --port`,
    },
  );
  await assert.rejects(
    serve(t, () => {}, { host: "203.0.113.1" }),
    /no such address; set --port/,
  );
});

test("whatever stands where a request's path should be is a path", () => {
  const paths = [
    "/a?b=c",
    "//",
    "///x",
    "/%",
    "*",
    "",
    "http://[",
    "http://",
    "\\\\",
    "//h:99999/",
  ];
  for (const target of paths) assert.equal(requestUrl(target).hostname, "localhost", target);
  assert.equal(requestUrl("/a?b=c").search, "?b=c");
  assert.equal(requestUrl("//api/v1").pathname, "//api/v1");
  assert.equal(requestUrl("http://elsewhere:1/v1/models?a=b").pathname, "/v1/models");
  assert.equal(requestUrl(undefined).pathname, "/");
});

test("the stop lets requests in flight finish and closes their connections", async (t) => {
  let finish = () => {};
  const handler: RequestListener = (incoming, response) => {
    if (incoming.url === "/fast") response.end("fast");
    else finish = () => response.end("slow");
  };
  const { server, stop, url } = await serve(t, handler, { drainMs: 60_000 });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  await answered(`${url}/fast`, agent);
  const slow = answered(`${url}/slow`);
  while (finish.toString() === "() => {}") await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await assert.rejects(answered(`${url}/fast`), { code: "ECONNREFUSED" });
  finish();
  const { response, body } = await slow;
  assert.equal(body, "slow");
  assert.equal(response.headers.connection, "close");
  await server.closed;
});

test("what does not finish within the drain is cut", async (t) => {
  const { server, stop, url } = await serve(t, () => stop.abort(), { drainMs: 20 });
  await assert.rejects(answered(url), { code: "ECONNRESET" });
  await server.closed;
});

/** A certificate for 127.0.0.1 that signs itself. */
async function certificate(name: string): Promise<TlsFiles> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "ip", value: "127.0.0.1" }])],
  });
  const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const pem = `-----BEGIN PRIVATE KEY-----\n${key.toString("base64")}\n-----END PRIVATE KEY-----\n`;
  return { cert: made.toString("pem"), key: pem };
}

test("over TLS, and new connections use a renewed certificate", async (t) => {
  const first = await certificate("first");
  const second = await certificate("second");
  const { server } = await serve(t, (_incoming, response) => response.end("ok"), { tls: first });
  const ask = async (ca: string) => {
    const asking = getTls({ host: "127.0.0.1", port: server.port, ca, agent: false });
    const [response] = (await once(asking, "response")) as [IncomingMessage];
    return await bodyOf(response);
  };
  assert.equal(await ask(first.cert), "ok");
  server.setTls(second);
  assert.equal(await ask(second.cert), "ok");
  await assert.rejects(ask(first.cert));
});

test("probes and metrics", async (t) => {
  let missing: string | undefined = "routes";
  const metrics = createMetrics();
  metrics.counter({ name: "requests_total", help: "Requests." }).inc();
  const { url } = await serve(t, { fetch: probesFetch({ notReady: () => missing, metrics }) });
  const ask = async (path: string) => {
    const { response, body } = await answered(url + path);
    return `${response.statusCode} ${body.trim()}`;
  };
  assert.equal(await ask("/healthz"), "200 ok");
  assert.equal(await ask("/readyz"), "503 not ready: routes");
  missing = undefined;
  assert.equal(await ask("/readyz"), "200 ok");
  assert.match(await ask("/metrics"), /requests_total 1/);
  assert.equal(await ask("/other"), "404 not found");
});

const nodeEcho: RequestListener = async (incoming, response) => {
  try {
    response.end(String((await readBody(incoming, 10)).length));
  } catch (error) {
    assert.ok(error instanceof BodyTooLarge);
    response.writeHead(413).end();
  }
};

const webEcho = {
  fetch: async (incoming: Request) => {
    try {
      return new Response(String((await readBody(incoming.body, 10)).length));
    } catch (error) {
      assert.ok(error instanceof BodyTooLarge);
      return new Response("", { status: 413 });
    }
  },
};

for (const [form, handler] of Object.entries({ node: nodeEcho, web: webEcho })) {
  test(`a body is read up to its limit, and a longer one can be refused: ${form}`, async (t) => {
    const { url } = await serve(t, handler);
    const post = async (body: string) => {
      const sending = request(url, { method: "POST" });
      sending.on("error", () => {});
      sending.end(body);
      const [response] = (await once(sending, "response")) as [IncomingMessage];
      return `${response.statusCode} ${await bodyOf(response)}`;
    };
    assert.equal(await post("0123456789"), "200 10");
    assert.equal(await post("0123456789x"), "413 ");
    assert.equal(await post("x".repeat(3_000_000)), "413 ");
  });
}
