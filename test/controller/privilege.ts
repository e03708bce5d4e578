/** The rights that we ship are enough, and none too many: measured by the audit log of the real API server. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import type { Stage } from "./stage.ts";

interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly resource: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code: number; readonly message?: string };
  readonly stageTimestamp: string;
}

const ACCOUNT = "system:serviceaccount:aibrix-system:aibrix-controller-manager";

/** After all other tests: what they made the controller do was allowed. */
export function privilegeTests({ api }: Stage): void {
  const { auditLog } = api;
  if (auditLog === undefined) return;
  it("nothing that the controller asked for was denied", () => {
    const events = readFileSync(auditLog, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line): AuditEvent => JSON.parse(line))
      .filter(({ user }) => user.username === ACCOUNT);
    const asked = new Set(events.map(requestOf));
    for (const verb of ["watch", "patch"]) assert.ok(asked.has(`${verb} modeladapters`));
    const denied = events.filter((event) => [401, 403].includes(event.responseStatus?.code ?? 0));
    assert.deepEqual(
      denied.map(
        (event) => `${event.stageTimestamp} ${requestOf(event)}: ${event.responseStatus?.message}`,
      ),
      [],
    );
  });
}

function requestOf({ verb, objectRef }: AuditEvent): string {
  const { resource = "", subresource } = objectRef ?? {};
  return `${verb} ${subresource === undefined ? resource : `${resource}/${subresource}`}`;
}
