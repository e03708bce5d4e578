import assert from "node:assert/strict";
import { test } from "node:test";
import { portRefusal } from "./balancer.ts";

test("only a refusal of this run and of this Service counts", () => {
  const event = (name: string, reason: string, lastTimestamp: string) => ({
    metadata: { name: "e" },
    involvedObject: { name },
    ...{ reason, lastTimestamp, message: `${name} ${reason}` },
  });
  const sinceMs = Date.parse("2026-01-01T00:00:10.500Z");
  const told = event("gateway", "PortNotOpen", "2026-01-01T00:00:10Z");
  assert.equal(portRefusal("gateway", [told], sinceMs), "gateway PortNotOpen");
  const others = [
    event("other", "PortNotOpen", "2026-01-01T00:00:10Z"),
    event("gateway", "Something", "2026-01-01T00:00:10Z"),
    event("gateway", "PortNotOpen", "2026-01-01T00:00:09Z"),
  ];
  assert.equal(portRefusal("gateway", others, sinceMs), undefined);
});
