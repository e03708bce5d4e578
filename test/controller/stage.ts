/** What all tests of the controller share: an API server with what we ship applied to it, and controllers as users start them. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, parseAllDocuments, stringify } from "yaml";
import { CONTROLLER_NAME, SYSTEM_NAMESPACE } from "#api/names.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import type { KubeClient } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { prepare } from "../conformance/prepare.ts";
import type { ApiServer } from "../conformance/servers.ts";
import { connect, type Target } from "../conformance/target.ts";
import { eventually } from "../support/eventually.ts";
import { Addresses } from "./addresses.ts";

const ROOT = join(import.meta.dirname, "../..");
/** A process of ours needs a second or two of a busy machine. */
const START_MS = 30_000;
const STOP_MS = 15_000;
const DEFAULT_PROBES_PORT = 8081;
const DEFAULT_METRICS_PORT = 8080;

/** The rights that we ship. */
export const RBAC_FILE = join(ROOT, "deploy/controller/rbac.yaml");
const NAMESPACE_FILE = join(ROOT, "deploy/namespace.yaml");

/** Of each kind in our manifests, where its objects are made. */
const PATHS: Readonly<Record<string, string>> = {
  Namespace: "/api/v1/namespaces",
  ServiceAccount: `/api/v1/namespaces/${SYSTEM_NAMESPACE}/serviceaccounts`,
  ClusterRole: "/apis/rbac.authorization.k8s.io/v1/clusterroles",
  ClusterRoleBinding: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
  Role: `/apis/rbac.authorization.k8s.io/v1/namespaces/${SYSTEM_NAMESPACE}/roles`,
  RoleBinding: `/apis/rbac.authorization.k8s.io/v1/namespaces/${SYSTEM_NAMESPACE}/rolebindings`,
};

/** A controller as a process. */
export interface Controller {
  readonly child: ChildProcess;
  /** The exit code, or the signal. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
  /** Where /healthz, /readyz and /metrics answer. */
  readonly probes: string;
  readonly metrics: string;
  log(): string;
  /** Resolves when it works; fails with its log when it ends instead. */
  ready(): Promise<void>;
  /** Ends it as Kubernetes does. */
  stop(): Promise<void>;
  /** Ends it as a crash does. */
  kill(): Promise<void>;
}

export interface Stage {
  readonly api: ApiServer;
  /** Of an administrator. */
  readonly target: Target;
  readonly client: KubeClient;
  readonly addresses: Addresses;
  /** All controllers so far. */
  readonly controllers: readonly Controller[];
  /** Starts one with the rights that we ship. */
  start(...args: string[]): Promise<Controller>;
  close(): Promise<void>;
}

/** Applies what we ship to an API server. */
export async function setStage(api: ApiServer): Promise<Stage> {
  const target = await connect(api.kubeconfig, api.isEmbedded);
  await prepare(target);
  for (const file of [NAMESPACE_FILE, RBAC_FILE]) await applyFile(target, file);
  const dir = mkdtempSync(join(tmpdir(), "loradock-controller-"));
  const kubeconfig = join(dir, "kubeconfig");
  writeFileSync(kubeconfig, await serviceAccountConfig(target), { mode: 0o600 });
  const config = await loadKubeConfig({ kubeconfigPath: api.kubeconfig, env: {}, clock });
  const client = createKubeClient({ config, clock });
  const addresses = new Addresses();
  const controllers: Controller[] = [];
  process.once("exit", () => {
    for (const { child } of controllers) child.kill("SIGKILL");
  });
  return {
    api,
    target,
    client,
    addresses,
    controllers,
    start: async (...args) => {
      const host = addresses.next();
      const controller = startController(host, ["--kubeconfig", kubeconfig, ...args]);
      controllers.push(controller);
      return controller;
    },
    close: async () => {
      await Promise.all(controllers.map((controller) => controller.kill()));
      await client.close();
      await target.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function applyFile(target: Target, file: string): Promise<void> {
  for (const document of parseAllDocuments(readFileSync(file, "utf8"))) {
    const object: unknown = document.toJS();
    assert.ok(isObject(object) && typeof object["kind"] === "string");
    await target.create(PATHS[object["kind"]] ?? "", object);
  }
}

/** The kubeconfig of whoever is the ServiceAccount that our manifests give rights to. */
async function serviceAccountConfig(target: Target): Promise<string> {
  const accounts = PATHS["ServiceAccount"];
  const asked = { spec: { expirationSeconds: 3600 } };
  const answer = await target.create(`${accounts}/${CONTROLLER_NAME}/token`, asked);
  const config = parse(readFileSync(target.kubeconfig, "utf8")) as JsonObject;
  return stringify({
    ...config,
    users: [{ name: "controller", user: { token: answer.at("status.token") } }],
    contexts: [{ name: "it", context: { cluster: clusterName(config), user: "controller" } }],
    "current-context": "it",
  });
}

function clusterName({ clusters }: JsonObject): string {
  const [cluster] = clusters as { name: string }[];
  return cluster?.name ?? "";
}

function startController(host: string, args: readonly string[]): Controller {
  const probes = `${host}:${DEFAULT_PROBES_PORT}`;
  const metrics = `${host}:${DEFAULT_METRICS_PORT}`;
  const child = spawn(
    process.execPath,
    [
      ...[join(ROOT, "bin/loradock"), "controller", ...args],
      ...[`--health-probe-bind-address=${probes}`, `--metrics-bind-address=${metrics}`],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString("utf8");
    });
  }
  const exited = once(child, "close").then(([code, signal]) => code ?? signal);
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const late = new AbortController();
    const tooLong = clock.sleep(STOP_MS, late.signal).then(
      () => child.kill("SIGKILL"),
      () => {},
    );
    await exited;
    late.abort();
    await tooLong;
  };
  return {
    child,
    exited,
    probes: `http://${probes}`,
    metrics: `http://${metrics}`,
    log: () => output,
    ready: async () => {
      const isReady = async () => {
        if (child.exitCode !== null) throw new Error(`the controller ended:\n${output}`);
        return (await fetch(`http://${probes}/readyz`).catch(() => undefined))?.ok;
      };
      await eventually("the controller works", isReady, START_MS);
    },
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}
