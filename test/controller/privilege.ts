/** The rights that we ship are enough, and none too many: measured by the audit log of the real API server. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { parseAllDocuments } from "yaml";
import { RBAC_FILE, type Stage } from "./stage.ts";

interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code: number; readonly message?: string };
  readonly stageTimestamp: string;
}

interface Role {
  readonly rules?: readonly { readonly resources: string[]; readonly verbs: string[] }[];
}

const ACCOUNT = "system:serviceaccount:aibrix-system:aibrix-controller-manager";

/** Rights that no line of the log tells of, and why they are needed all the same. */
const UNLOGGED = [
  // To be named as the owner that blocks a deletion: asked for by an admission plugin, which is on here.
  /^update modeladapters\/finalizers$/,
  // Where the API server cannot send the first state with a watch.
  /^list (modeladapters|pods|services|endpointslices)$/,
];

/** After all other tests: they have made the controller ask for everything that it ever asks for. */
export function privilegeTests({ api }: Stage): void {
  const { auditLog, downtimes } = api;
  if (auditLog === undefined) return;
  const events = () =>
    readFileSync(auditLog, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line): AuditEvent => JSON.parse(line))
      .filter(({ user }) => user.username === ACCOUNT);

  it("nothing that the controller asked for was denied", () => {
    // An API server that has just begun has not read the roles yet.
    const isBeginning = (ms: number) =>
      downtimes.some(({ fromMs, toMs }) => ms >= fromMs && ms <= toMs);
    const denied = events()
      .filter((event) => [401, 403].includes(event.responseStatus?.code ?? 0))
      .filter((event) => !isBeginning(Date.parse(event.stageTimestamp)))
      // No right would help in a namespace that is being deleted.
      .filter(({ responseStatus }) => !/it is being terminated/.test(responseStatus?.message ?? ""))
      .map(
        (event) => `${event.stageTimestamp} ${rightOf(event)}: ${event.responseStatus?.message}`,
      );
    assert.deepEqual(denied, []);
  });

  it("each right that the controller has was needed", () => {
    const roles = parseAllDocuments(readFileSync(RBAC_FILE, "utf8")).map(
      (document): Role => document.toJS(),
    );
    const granted = roles
      .flatMap((role) => role.rules ?? [])
      .flatMap(({ resources, verbs }) =>
        resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
      );
    const asked = new Set(events().map(rightOf));
    const needless = granted
      .filter((right) => !asked.has(right))
      .filter((right) => !UNLOGGED.some((words) => words.test(right)));
    assert.deepEqual(needless, []);
  });
}

function rightOf({ verb, objectRef }: AuditEvent): string {
  const { resource = "", subresource } = objectRef ?? {};
  return `${verb} ${subresource === undefined ? resource : `${resource}/${subresource}`}`;
}
