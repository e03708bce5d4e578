/** A real Kubernetes API on this machine: etcd, kube-apiserver and the garbage collector. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Agent, request } from "undici";
import { stringify } from "yaml";
import { UserError } from "#base/errors.ts";
import { newAuthority, newPrivateKey } from "./certificates.ts";
import type { KubePrograms } from "./kube-build.ts";

const HOST = "127.0.0.1";
const READY_TIMEOUT_MS = 120_000;
const POLL_MS = 100;
const LOG_TAIL_LINES = 5;

/** Of each user its own token, so that an audit log can tell them apart. */
const ADMIN = "admin";
const COLLECTOR = "collector";

/** Who asked for what, and whether it was allowed: whoever has a service account has rights to be measured. */
const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived", "ResponseStarted"],
  rules: [{ level: "Metadata", userGroups: ["system:serviceaccounts"] }, { level: "None" }],
};

export interface KubeStackOptions {
  readonly programs: KubePrograms;
  /** Where data, certificates, logs, kubeconfigs and process ids are kept. */
  readonly dir: string;
  readonly port: number;
  /** etcd takes this port and the next one. */
  readonly etcdPort: number;
  /** Whether it outlives the process that starts it, Ctrl-C in its terminal included. */
  readonly detached: boolean;
}

export interface KubeStack {
  /** Of an administrator. */
  readonly kubeconfig: string;
  readonly etcdUrl: string;
  /** What service accounts asked for, a JSON object a line. */
  readonly auditLog: string;
  /** The processes, in the order in which they were started. */
  readonly children: readonly ChildProcess[];
  /** Ends the API server alone; etcd keeps what it held. */
  stopServer(): Promise<void>;
  /** Starts it again; resolves when it answers /readyz. */
  startServer(): Promise<void>;
}

/** Starts all three; resolves when the API answers /readyz. On failure nothing is left running. */
export async function startKube(options: KubeStackOptions): Promise<KubeStack> {
  const { dir, port, etcdPort, programs, detached } = options;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const files = await writeFiles(dir, port);
  const etcdUrl = `http://${HOST}:${etcdPort}`;
  const peerUrl = `http://${HOST}:${etcdPort + 1}`;
  const auditLog = join(dir, "audit.log");
  const children: ChildProcess[] = [];
  const start = (name: string, command: string, args: readonly string[]) =>
    startProcess(dir, name, command, args, detached);
  try {
    const etcd = start("etcd", programs.etcd, [
      `--data-dir=${join(dir, "etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      "--log-level=warn",
      // Nothing here has to survive the machine.
      "--unsafe-no-fsync",
    ]);
    children.push(etcd);
    await answering(`${etcdUrl}/health`, {}, etcd, join(dir, "etcd.log"));
    const serverArgs = [
      `--etcd-servers=${etcdUrl}`,
      `--bind-address=${HOST}`,
      `--advertise-address=${HOST}`,
      `--secure-port=${port}`,
      "--endpoint-reconciler-type=none",
      `--token-auth-file=${files.tokens}`,
      "--authorization-mode=RBAC",
      `--tls-cert-file=${files.cert}`,
      `--tls-private-key-file=${files.key}`,
      `--cert-dir=${dir}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${files.serviceAccountKey}`,
      `--service-account-signing-key-file=${files.serviceAccountKey}`,
      "--service-cluster-ip-range=10.96.0.0/16",
      // Pods need no service account, since nothing here makes the default one of a namespace.
      "--disable-admission-plugins=ServiceAccount",
      // Some distributions ask owners for the right to block deletion: what we ship must have it.
      "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
      `--audit-policy-file=${files.auditPolicy}`,
      `--audit-log-path=${auditLog}`,
    ];
    let server: ChildProcess | undefined;
    const startServer = async () => {
      const child = start("apiserver", programs.apiServer, serverArgs);
      if (server === undefined) children.push(child);
      else children.splice(children.indexOf(server), 1, child);
      server = child;
      const ready = { ca: files.ca, token: files.adminToken };
      await answering(`https://${HOST}:${port}/readyz`, ready, child, join(dir, "apiserver.log"));
    };
    const stopServer = () => stopChildren(server === undefined ? [] : [server]);
    await startServer();
    children.push(start("gc", programs.garbageCollector, [files.collector]));
    return { kubeconfig: files.admin, etcdUrl, auditLog, children, startServer, stopServer };
  } catch (error) {
    await stopChildren(children);
    throw error;
  }
}

/** Ends the processes in the reverse of the order in which they were started. */
export async function stopChildren(children: readonly ChildProcess[]): Promise<void> {
  for (const child of children.toReversed()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, "exit");
    // etcd and the API server take seconds to say goodbye, and nothing they hold is worth it.
    child.kill("SIGKILL");
    await exited;
  }
}

/** Ends what an earlier process started in this state folder; `true` when there was something. */
export function stopKube(dir: string): boolean {
  let found = false;
  for (const name of ["gc", "apiserver", "etcd"]) {
    const file = join(dir, `${name}.pid`);
    const pid = Number(readIfThere(file));
    // The id may belong to somebody else by now: ours has the state folder among its arguments.
    if (pid > 0 && readIfThere(`/proc/${pid}/cmdline`)?.includes(dir)) {
      process.kill(pid, "SIGKILL");
      found = true;
    }
    rmSync(file, { force: true });
  }
  return found;
}

async function writeFiles(dir: string, port: number) {
  const authority = await newAuthority("loradock-real-kube");
  const server = await authority.issue({
    dns: ["localhost", "kubernetes", "kubernetes.default.svc"],
    ip: [HOST, "10.96.0.1"],
  });
  const write = (name: string, text: string) => {
    const path = join(dir, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const users = [ADMIN, COLLECTOR].map((name) => ({
    name,
    token: randomBytes(16).toString("hex"),
  }));
  const [admin = "", collector = ""] = users.map(({ name, token }) =>
    write(
      name === ADMIN ? "kubeconfig" : `${name}.kubeconfig`,
      stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [
          {
            name: "real",
            cluster: {
              server: `https://${HOST}:${port}`,
              "certificate-authority-data": Buffer.from(authority.ca).toString("base64"),
            },
          },
        ],
        users: [{ name, user: { token } }],
        contexts: [{ name: "real", context: { cluster: "real", user: name } }],
        "current-context": "real",
      }),
    ),
  );
  return {
    ca: authority.ca,
    admin,
    collector,
    adminToken: users[0]?.token ?? "",
    cert: write("server.crt", server.cert),
    key: write("server.key", server.key),
    serviceAccountKey: write("service-accounts.key", await newPrivateKey()),
    auditPolicy: write("audit-policy.json", JSON.stringify(AUDIT_POLICY)),
    tokens: write(
      "tokens.csv",
      users.map(({ name, token }) => `${token},${name},${name},"system:masters"\n`).join(""),
    ),
  };
}

function startProcess(
  dir: string,
  name: string,
  command: string,
  args: readonly string[],
  detached: boolean,
): ChildProcess {
  const log = openSync(join(dir, `${name}.log`), "a", 0o600);
  const child = spawn(command, [...args], { detached, stdio: ["ignore", log, log] });
  closeSync(log);
  child.on("error", () => {});
  writeFileSync(join(dir, `${name}.pid`), String(child.pid ?? ""));
  return child;
}

/** Waits until the process answers there with 200. */
async function answering(
  url: string,
  how: { ca?: string; token?: string },
  child: ChildProcess,
  logFile: string,
): Promise<void> {
  const agent = new Agent({ connect: how.ca === undefined ? {} : { ca: how.ca } });
  const headers = how.token === undefined ? {} : { authorization: `Bearer ${how.token}` };
  const end = Date.now() + READY_TIMEOUT_MS;
  try {
    for (;;) {
      const answer = await request(url, { dispatcher: agent, headers }).catch(() => undefined);
      await answer?.body.dump();
      // When it has ended, somebody else has its port and answers.
      const ended = child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
      if (answer?.statusCode === 200 && !ended) return;
      if (ended || Date.now() > end) {
        const words = (readIfThere(logFile) ?? "").trim().split("\n").slice(-LOG_TAIL_LINES);
        const what = ended ? "ended before" : "took too long until";
        throw new UserError(`${child.spawnfile} ${what} it answered: ${words.join("\n")}`);
      }
      await delay(POLL_MS);
    }
  } finally {
    await agent.close();
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
