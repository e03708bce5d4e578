import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ConfigMap } from "#api/kubernetes.ts";
import { eventually } from "#test/support/eventually.ts";
import { fastClock } from "#test/support/fast-clock.ts";
import { type Fault, FaultyApi, type FaultyApiOptions } from "#test/support/faulty-api.ts";
import { startServer } from "#test/support/http-server.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { CONFIG_MAPS } from "./client.ts";
import { startInformer } from "./informer.ts";
import { createKubeClient } from "./rest.ts";

async function informerOf(
  t: TestContext,
  options: FaultyApiOptions = {},
  fill?: (api: FaultyApi) => void,
) {
  const api = new FaultyApi(options);
  fill?.(api);
  const server = await startServer(api.handle);
  const clock = fastClock(200);
  const config = { source: "test", server: server.url, tls: {}, namespace: "default" };
  const client = createKubeClient({ config, clock });
  const stop = new AbortController();
  const indexes = { team: (map: ConfigMap) => [map.data?.["team"] ?? "none"] };
  const maps = startInformer(
    client,
    CONFIG_MAPS,
    { namespace: "default", indexes },
    clock,
    silentLog,
    stop.signal,
  );
  t.after(async () => {
    stop.abort();
    await maps.done;
    await client.close();
    await server.close();
  });
  return { api, maps, stop };
}

const versions = (list: Iterable<{ metadata: { name: string; resourceVersion?: string } }>) =>
  [...list].map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`).sort();

test("it syncs by one watch where the server sends initial events, and follows", async (t) => {
  const { api, maps } = await informerOf(t, {}, (api) => {
    for (let i = 0; i < 700; i++) api.set(`m${i}`, { team: i % 2 === 0 ? "even" : "odd" });
  });
  await maps.synced;
  assert.equal(maps.size, 700);
  assert.deepEqual(api.requests, ["watch"]);
  const heard: string[] = [];
  maps.onChange((before, after) =>
    heard.push(`${before?.data?.["team"] ?? "-"}>${after?.data?.["team"] ?? "-"}`),
  );
  api.set("m0", { team: "odd" });
  api.set("new", { team: "even" });
  api.delete("m1");
  await eventually("the changes", () => heard.length === 3);
  assert.deepEqual(heard, ["even>odd", "->even", "odd>-"]);
  assert.equal(maps.by("team", "odd").length, 350);
  assert.equal(maps.get("default/m1"), undefined);
});

for (const refusal of [400, 422, 500]) {
  test(`it falls back to pages when initial events are refused with ${refusal}`, async (t) => {
    const { api, maps } = await informerOf(t, { watchListRefusal: refusal }, (api) => {
      for (let i = 0; i < 1200; i++) api.set(`m${i}`);
    });
    await maps.synced;
    assert.equal(maps.size, 1200);
    assert.deepEqual(api.requests.slice(0, 4), ["watch", "list", "list", "list"]);
  });
}

test("a snapshot that is compacted between two pages is read again in one piece", async (t) => {
  let lists = 0;
  const { maps, api } = await informerOf(
    t,
    {
      watchListRefusal: 422,
      fault: (kind) => {
        if (kind === "list" && ++lists === 2) api.set("late");
        return "none";
      },
    },
    (api) => {
      for (let i = 0; i < 600; i++) api.set(`m${i}`);
    },
  );
  await maps.synced;
  assert.equal(maps.size, 601);
});

test("it resumes from the last version after a cut, and lists again only after 410", async (t) => {
  let fault: Fault = "cut";
  const { api, maps } = await informerOf(t, { fault: () => fault, watchListRefusal: 422 });
  await maps.synced;
  for (let i = 0; i < 7; i++) api.set(`m${i}`);
  await eventually("all seven", () => maps.size === 7);
  assert.equal(api.requests.filter((kind) => kind === "list").length, 1);
  fault = "none";
  api.set("more");
  await eventually("one more", () => maps.size === 8);
  // A silent connection misses a change that is then compacted away.
  fault = "silent";
  const watches = api.requests.length;
  api.compact();
  await eventually("a new watch", () => api.requests.length > watches);
  api.delete("m0");
  api.compact();
  fault = "none";
  await eventually("the deletion", () => maps.size === 7);
  assert.equal(api.requests.filter((kind) => kind === "list").length, 2);
});

test("a server that closes each watch at once is not asked in a tight loop", async (t) => {
  const { api, maps } = await informerOf(t, {
    fault: (kind) => (kind === "watch" ? "close-at-once" : "none"),
    watchListRefusal: 422,
  });
  await maps.synced;
  // 200 times as fast: two seconds here are a quarter of an hour's worth of ten-second pauses.
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.ok(api.requests.length < 30, String(api.requests.length));
});

test("a server restored from a backup is believed, though its versions are lower", async (t) => {
  const { api, maps } = await informerOf(t, {}, (api) => {
    for (let i = 0; i < 5; i++) api.set(`m${i}`);
  });
  await maps.synced;
  api.restore(50);
  api.set("m3", { team: "restored" });
  await eventually(
    "the restored state",
    () => maps.size === 1 && maps.by("team", "restored").length === 1,
  );
});

test("whatever goes wrong, in the end the copy equals the server's state", async (t) => {
  const faults: Fault[] = [
    "none",
    "none",
    "reset",
    "error500",
    "gone",
    "cut",
    "cut-half-line",
    "silent",
    "close-at-once",
    "error-event",
  ];
  let seed = 7;
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648;
  };
  let isFaulty = true;
  const { api, maps } = await informerOf(t, {
    fault: () => (isFaulty ? (faults[Math.floor(random() * faults.length)] ?? "none") : "none"),
  });
  const known = new Map<string, string | undefined>();
  maps.onChange((before, after) => {
    const { name } = (after ?? before)?.metadata ?? { name: "" };
    assert.equal(before?.metadata.resourceVersion, known.get(name), "listeners see each step");
    known.set(name, after?.metadata.resourceVersion);
  });
  for (let step = 0; step < 400; step++) {
    const name = `m${Math.floor(random() * 12)}`;
    if (random() < 0.3) api.delete(name);
    else if (random() < 0.2) maps.written(api.set(name));
    else api.set(name);
    if (random() < 0.05) api.compact();
    if (step % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  isFaulty = false;
  const same = () =>
    JSON.stringify(versions(maps.list())) === JSON.stringify(versions(api.objects.values()));
  await eventually("equality", same, 10_000).catch(() => {
    assert.deepEqual(versions(maps.list()), versions(api.objects.values()));
  });
});
