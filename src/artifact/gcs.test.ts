/** What the emulator does not do: workload identity, many pages, compressed objects, broken answers. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { fastClock } from "#test/support/fast-clock.ts";
import { startServer } from "#test/support/http-server.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { startTokenServer } from "#test/support/token-server.ts";
import { gcsSource } from "./gcs.ts";
import { GcsTokens } from "./gcs-auth.ts";
import { createHttpClient } from "./http-client.ts";
import type { GcsSettings, SourceContext } from "./source.ts";

const never = new AbortController().signal;

async function contextOf(
  t: TestContext,
  answer: (request: IncomingMessage, response: ServerResponse, url: URL) => void,
) {
  const server = await startServer((request, response) =>
    answer(request, response, new URL(request.url ?? "/", "http://x")),
  );
  const http = createHttpClient();
  t.after(() => Promise.all([http.close(), server.close()]));
  const context = (gcs: Partial<GcsSettings>, credentials?: Record<string, string>) =>
    ({
      content: "adapter",
      credentials: credentials ?? {},
      areCredentialsGiven: credentials !== undefined,
      settings: { ...SOURCE_SETTINGS, gcs: { ...SOURCE_SETTINGS.gcs, ...gcs } },
      http,
      clock: fastClock(50),
      log: silentLog,
    }) satisfies SourceContext;
  return { url: server.url, context };
}

test("workload identity: a token of the metadata server, asked once while it lasts", async (t) => {
  let status = 200;
  let asked = 0;
  const { url, context } = await contextOf(t, (request, response, { pathname }) => {
    asked++;
    assert.equal(pathname, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert.equal(request.headers["metadata-flavor"], "Google");
    response.writeHead(status).end('{"access_token":"ya29.x","expires_in":3599}');
  });
  const tokens = new GcsTokens(context({ metadataUrl: url }), "gs://b/a");
  assert.equal(await tokens.get(never), "ya29.x");
  assert.equal(await tokens.get(never), "ya29.x");
  assert.equal(asked, 1);
  const refused = (code: string) =>
    assert.rejects(new GcsTokens(context({ metadataUrl: url }), "gs://b/a").get(never), { code });
  status = 404;
  await refused("InvalidCredentials");
  status = 503;
  await refused("Unreachable");
});

test("outside of Google's cloud there is no metadata server: no credentials were given", async (t) => {
  const { context } = await contextOf(t, () => assert.fail("asked"));
  const metadataUrl = "http://metadata.google.invalid";
  const tokens = new GcsTokens(context({ metadataUrl }), "gs://b/a");
  await assert.rejects(tokens.get(never), (error: Error & { code?: string }) => {
    // Where no resolver answers, the name may come to be known yet.
    const isTemporary = /temporary failure/.test(error.message);
    assert.equal(error.code, isTemporary ? "Unreachable" : "AccessDenied", error.message);
    return true;
  });
});

test("pages, an emulator's path, compressed objects and broken answers", async (t) => {
  const tokenServer = await startTokenServer();
  t.after(() => tokenServer.close());
  const item = (name: string, more: object = {}) => ({
    name: `a/${name}`,
    size: "5",
    generation: "17",
    crc32c: "mnG7TA==",
    ...more,
  });
  let pages: Record<string, unknown> = {
    "": { prefixes: ["a/checkpoint/"], nextPageToken: "two" },
    two: { items: [item("adapter_config.json"), item("adapter_model.safetensors")] },
  };
  const { url, context } = await contextOf(t, (request, response, { pathname, searchParams }) => {
    assert.equal(pathname, "/storage/v1/b/bucket/o");
    assert.equal(request.headers.authorization, "Bearer ya29.good-token");
    assert.equal(searchParams.get("prefix"), "a/");
    response.end(JSON.stringify(pages[searchParams.get("pageToken") ?? ""]) ?? "{");
  });
  const credentials = { gcp_service_account_json: tokenServer.keyJson() };
  const source = gcsSource(
    { bucket: "bucket", prefix: "a" },
    context({ endpoint: `${url}/storage/v1/` }, credentials),
  );
  const { files } = await source.list(never);
  assert.deepEqual(
    files.map(({ path, validator, digest }) => [path, validator, digest?.algorithm]),
    [
      ["adapter_config.json", "17", "crc32c"],
      ["adapter_model.safetensors", "17", "crc32c"],
    ],
  );
  assert.equal(tokenServer.given, 1);
  pages = { "": { items: [item("adapter_config.json", { contentEncoding: "gzip" })] } };
  await assert.rejects(source.list(never), { code: "InvalidArtifact", message: /gzip/ });
  pages = { "": { items: [{ name: "a/x" }] } };
  await assert.rejects(source.list(never), { code: "Unreachable", message: /cannot be read/ });
  pages = {};
  await assert.rejects(source.list(never), { code: "Unreachable", message: /cannot be read/ });
});
