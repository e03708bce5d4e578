import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeEvent } from "#api/kubernetes.ts";
import { portRefusal } from "./balancer.ts";

test("only a refusal of this run and of this Service counts", () => {
  const event = (name: string, reason: string, lastTimestamp: string, place = "127.97.0.1:80") => ({
    metadata: { name: "e" },
    involvedObject: { name },
    ...{ reason, lastTimestamp, message: `${place} is not open` },
  });
  const sinceMs = Date.parse("2026-01-01T00:00:10.500Z");
  const refusal = (events: KubeEvent[]) => portRefusal("gateway", "127.97.0.1:80", events, sinceMs);
  const told = event("gateway", "PortNotOpen", "2026-01-01T00:00:10Z");
  assert.equal(refusal([told]), "127.97.0.1:80 is not open");
  const others = [
    event("other", "PortNotOpen", "2026-01-01T00:00:10Z"),
    event("gateway", "Something", "2026-01-01T00:00:10Z"),
    event("gateway", "PortNotOpen", "2026-01-01T00:00:09Z"),
    event("gateway", "PortNotOpen", "2026-01-01T00:00:10Z", "127.96.0.1:80"),
  ];
  assert.equal(refusal(others), undefined);
});
