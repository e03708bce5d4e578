import assert from "node:assert/strict";
import { test } from "node:test";
import { CONDITION_TYPES, EVENT, eventType, REASONS, type Reason } from "#api/reasons.ts";
import { CLAIMS, withTables } from "./controller-page.ts";

test("a reason stands on the conditions that its table names, and on no others", () => {
  for (const [reason, { on }] of Object.entries(REASONS)) {
    const claimed = CLAIMS.filter((claim) => claim.reason === reason).map(({ type }) => type);
    const named = CONDITION_TYPES.filter((type) => (on as readonly string[]).includes(type));
    assert.deepEqual([...new Set(claimed)], named, reason);
  }
});

test("an Event is of the type that the table names for its reason", () => {
  const events = [
    EVENT.scheduled(["a"]),
    EVENT.loaded(["a"]),
    EVENT.maxRetriesExceeded("a", "timeout"),
    EVENT.failed("ModelAdapterLoadingError", "a"),
    EVENT.failed("ValidationFailed", "a"),
  ];
  for (const { reason, type } of events) assert.equal(type, eventType(reason as Reason), reason);
});

test("tables are written between their marks, and a mark that is missing is an error", () => {
  const page = "a\n<!-- begin x: written by `npm run generate` -->\nold\n<!-- end x -->\nb";
  const wanted = page.replace("old", "| new |");
  assert.equal(withTables(page, { x: "| new |" }), wanted);
  assert.throws(() => withTables(page, { y: "" }), /no marks/);
});
