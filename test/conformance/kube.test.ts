/**
 * The conformance suite against the real kube-apiserver: what it expects is what Kubernetes does.
 * LORADOCK_TEST_KUBECONFIG and LORADOCK_TEST_ETCD name a server that is there already.
 */
import { after } from "node:test";
import { compact } from "./compact.ts";
import { prepare } from "./prepare.ts";
import { startRealApi } from "./servers.ts";
import { conformanceTests } from "./suite.ts";
import { connect } from "./target.ts";

const existing = process.env["LORADOCK_TEST_KUBECONFIG"];
const server = existing === undefined ? await startRealApi(16_510, 12_510) : undefined;
const etcd = server?.etcdUrl ?? process.env["LORADOCK_TEST_ETCD"];
const target = await connect(existing ?? server?.kubeconfig ?? "", false, async () => {
  if (etcd !== undefined) await compact(etcd);
});
await prepare(target);
conformanceTests(target);

after(async () => {
  await target.close();
  await server?.close();
});
