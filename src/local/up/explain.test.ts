import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "#test/support/temp-folder.ts";
import { explainTrouble } from "./explain.ts";

test("a trouble is told with the container's last words and where to read on", async (t) => {
  const stateDir = await tempFolder(t);
  const place = { stateDir, shownStateDir: ".loradock" };
  const pod = {
    metadata: { name: "base-1", namespace: "default", uid: "u" },
    spec: { containers: [] },
  };
  const trouble = { pod, container: "main", text: "ended with exit code 1", isFinal: false };
  assert.equal(
    explainTrouble(trouble, place),
    "container main of pod base-1: ended with exit code 1; see kubectl --kubeconfig .loradock/kubeconfig describe pod -n default base-1",
  );
  for (const [attempt, text] of ["first\n", "again\nout of memory\n"].entries()) {
    const folder = join(stateDir, "pods/u/containers/main", String(attempt));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "log"), text);
  }
  assert.equal(
    explainTrouble(trouble, place),
    'container main of pod base-1: ended with exit code 1, and its log ends with "out of memory"; see kubectl --kubeconfig .loradock/kubeconfig logs -n default base-1 -c main',
  );
  assert.match(explainTrouble({ ...trouble, container: undefined }, place), /^pod base-1: ended/);
  assert.match(explainTrouble(undefined, place), /\.loradock\/logs\/kubelet\.log/);
});
