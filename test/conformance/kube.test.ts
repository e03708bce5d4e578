/**
 * The conformance suite against the real kube-apiserver: what it expects is what Kubernetes does.
 * LORADOCK_TEST_KUBECONFIG and LORADOCK_TEST_ETCD name a server that is there already.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { buildKube, kubeCache } from "../../scripts/kube-build.ts";
import { type KubeStack, startKube, stopChildren } from "../../scripts/kube-stack.ts";
import { compact } from "./compact.ts";
import { freePort } from "./ports.ts";
import { prepare } from "./prepare.ts";
import { conformanceTests } from "./suite.ts";
import { connect } from "./target.ts";

const existing = process.env["LORADOCK_TEST_KUBECONFIG"];
const dir = mkdtempSync(join(tmpdir(), "loradock-kube-"));
let stack: KubeStack | undefined;

process.once("exit", () => {
  for (const child of stack?.children ?? []) child.kill("SIGKILL");
});

if (existing === undefined) {
  stack = await startKube({
    programs: buildKube(kubeCache(process.env), (line) => console.error(line)),
    dir,
    port: await freePort(16_510),
    etcdPort: await freePort(12_510),
    detached: false,
  });
}

const etcd = stack?.etcdUrl ?? process.env["LORADOCK_TEST_ETCD"];
const target = await connect(existing ?? stack?.kubeconfig ?? "", false, async () => {
  if (etcd !== undefined) await compact(etcd);
});
await prepare(target);
conformanceTests(target);

after(async () => {
  await target.close();
  await stopChildren(stack?.children ?? []);
  rmSync(dir, { recursive: true, force: true });
});
