import assert from "node:assert/strict";
import { test } from "node:test";
import { KubeApiError } from "#kube/client.ts";
import { fastClock } from "#test/support/fast-clock.ts";
import { type Look, type WaitOptions, waitFor } from "./wait-for.ts";

function options(waits: string[] = []): WaitOptions {
  return {
    clock: fastClock(100),
    signal: new AbortController().signal,
    timeoutMs: 1_000,
    pollMs: 100,
    onWait: (what) => waits.push(what),
  };
}

/** Gives one look after the other; the last one again and again. */
function looks(...all: (Look<string> | Error)[]): () => Promise<Look<string>> {
  return async () => {
    const next = (all.length > 1 ? all.shift() : all[0]) ?? { waitsFor: "nothing" };
    if (next instanceof Error) throw next;
    return next;
  };
}

test("it says what it waits for until it is there", async () => {
  const waits: string[] = [];
  const slow = { waitsFor: "1/2", because: "main ended" };
  const look = looks({ waitsFor: "1/2" }, slow, new KubeApiError(503, "X", "busy"), {
    done: "both",
  });
  // The clock runs a hundred times as fast: a busy machine must not use up the time.
  const patient = { ...options(waits), timeoutMs: 1_000_000 };
  assert.equal(await waitFor(look, patient), "both");
  assert.deepEqual(waits, ["1/2", "1/2; main ended", "the Kubernetes API does not answer (busy)"]);
});

test("too late, hopeless and wrong are told apart", async () => {
  const explain = async () => "a container ended";
  await assert.rejects(waitFor(looks({ waitsFor: "1/2" }), { ...options(), explain }), {
    name: "UserError",
    message: "1/2 after 1 s: a container ended",
  });
  await assert.rejects(waitFor(looks({ waitsFor: "1/2", hopeless: "no image" }), options()), {
    message: "1/2: no image",
  });
  const refused = new KubeApiError(403, "Forbidden", "no");
  await assert.rejects(waitFor(looks(refused), options()), refused);
});
