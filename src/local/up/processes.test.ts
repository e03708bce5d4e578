import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod } from "#api/kubernetes.ts";
import { unreadyConditions } from "./earlier-run.ts";
import { apiServerProcess, isNodeReadySince, kubeletProcess } from "./processes.ts";

const settings = {
  ...{ stateDir: "/state", shownStateDir: "state", apiPort: 1, gatewayPort: 2, hubPort: 3 },
  ...({ once: false, sample: true, engine: "vllm", logFormat: "json" } as const),
};

test("both processes stop with their parent, and get what the flags say", () => {
  const program = { settings, entries: "/main", node: "node", env: {} };
  const never = () => new Promise<void>(() => {});
  const api = apiServerProcess(program, never);
  assert.equal(
    api.args.join(" "),
    "/main/apiserver.ts --state-dir /state --host 127.0.0.1 --port 1 --with-parent --log-format json",
  );
  const kubelet = kubeletProcess(program, never).args.join(" ");
  assert.match(kubelet, /--kubeconfig \/state\/kubeconfig .*--engine vllm/);
  assert.match(kubelet, /--env HF_ENDPOINT=http:\/\/127\.0\.0\.1:3 --with-parent/);
});

test("a node of an earlier run is not ready", () => {
  const node = (status: string, lastHeartbeatTime: string) => ({
    metadata: { name: "loradock" },
    status: { conditions: [{ type: "Ready", status, lastHeartbeatTime }] },
  });
  const sinceMs = Date.parse("2026-01-01T00:00:10.900Z");
  assert.equal(isNodeReadySince(node("True", "2026-01-01T00:00:10Z"), sinceMs), true);
  assert.equal(isNodeReadySince(node("True", "2026-01-01T00:00:09Z"), sinceMs), false);
  assert.equal(isNodeReadySince(node("False", "2026-01-01T00:00:11Z"), sinceMs), false);
  assert.equal(isNodeReadySince({ metadata: { name: "loradock" } }, sinceMs), false);
});

test("pods of an earlier run are unready until somebody has looked", () => {
  const pod = (status: "True" | "False"): Pod => ({
    metadata: { name: "a" },
    spec: { containers: [] },
    status: {
      conditions: [
        { type: "PodScheduled", status: "True" },
        { type: "Ready", status },
      ],
    },
  });
  const [scheduled, ready] = unreadyConditions(pod("True"), 0) ?? [];
  assert.equal(scheduled?.status, "True");
  assert.deepEqual([ready?.status, ready?.lastTransitionTime], ["False", "1970-01-01T00:00:00Z"]);
  assert.equal(unreadyConditions(pod("False"), 0), undefined);
  assert.equal(
    unreadyConditions({ metadata: { name: "b" }, spec: { containers: [] } }, 0),
    undefined,
  );
});
