/** The API server under test, and how the tests talk to it. */
import { execFile } from "node:child_process";
import { Agent, request } from "undici";
import type { Json, JsonObject } from "#base/json.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { Answer } from "./answer.ts";
import { openWatch, type Watching } from "./watching.ts";

const KUBECTL_TIMEOUT_MS = 60_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export type PatchKind = "merge" | "json" | "strategic" | "apply";

const PATCH_TYPE: Record<PatchKind, string> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

export interface RequestOptions {
  /** Sent as it is when it is a string, else as JSON. */
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a command of kubectl printed. */
export interface Printed {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface KubectlOptions {
  readonly namespace?: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** One API server. The tests know nothing else of it. */
export interface Target {
  readonly kubeconfig: string;
  readonly server: string;
  /** For what the real one cannot be asked: it has no namespace controller. */
  readonly isEmbedded: boolean;
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>;
  get(path: string, accept?: string): Promise<Answer>;
  post(path: string, body: unknown): Promise<Answer>;
  put(path: string, body: unknown): Promise<Answer>;
  patch(path: string, kind: PatchKind, body: unknown): Promise<Answer>;
  delete(path: string, body?: unknown): Promise<Answer>;
  /** Like `post`, but fails unless the server created it; resolves to the object. */
  create(path: string, object: Json): Promise<Answer>;
  watch(path: string, accept?: string): Promise<Watching>;
  /** Creates a namespace of this test's own; resolves to its name. */
  namespace(): Promise<string>;
  /** A word that no other test uses. */
  unique(prefix: string): string;
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<Printed>;
  /** Makes old states of things unavailable, as time does. */
  expire(): Promise<void>;
  close(): Promise<void>;
}

/** Reads the kubeconfig, which has to hold the credentials of an administrator. */
export async function connect(
  kubeconfig: string,
  isEmbedded: boolean,
  expire: () => Promise<void> = () => Promise.resolve(),
): Promise<Target> {
  const config = await loadKubeConfig({
    kubeconfigPath: kubeconfig,
    env: {},
    clock: systemClock,
  });
  const agent = new Agent({ connect: config.tls, headersTimeout: 0, bodyTimeout: 0 });
  let words = 0;

  const unique = (prefix: string) => `${prefix}-${process.pid}-${++words}`;

  const send = async (method: string, path: string, options: RequestOptions = {}) => {
    const { body, contentType, accept = "application/json" } = options;
    const authorization = await config.authorization?.();
    return request(config.server + path, {
      dispatcher: agent,
      method: method as "GET",
      headers: {
        accept,
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { "content-type": contentType ?? "application/json" }),
        ...options.headers,
      },
      body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
    });
  };

  const target: Target = {
    kubeconfig,
    server: config.server,
    isEmbedded,
    unique,
    request: async (method, path, options) => {
      const response = await send(method, path, options);
      const text = await response.body.text();
      return new Answer(`${method} ${path}`, response.statusCode, response.headers, text);
    },
    get: (path, accept) => target.request("GET", path, accept === undefined ? {} : { accept }),
    post: (path, body) => target.request("POST", path, { body }),
    put: (path, body) => target.request("PUT", path, { body }),
    patch: (path, kind, body) =>
      target.request("PATCH", path, { body, contentType: PATCH_TYPE[kind] }),
    delete: (path, body) => target.request("DELETE", path, body === undefined ? {} : { body }),
    create: async (path, object) => (await target.post(path, object)).expect(201),
    watch: async (path, accept) => {
      const separator = path.includes("?") ? "&" : "?";
      const response = await send("GET", `${path}${separator}watch=true`, {
        ...(accept === undefined ? {} : { accept }),
      });
      return openWatch(path, response);
    },
    namespace: async () => {
      const name = unique("conform");
      const object: JsonObject = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
      await target.create("/api/v1/namespaces", object);
      return name;
    },
    kubectl: (args, options = {}) => kubectl(kubeconfig, args, options),
    expire,
    close: () => agent.destroy(),
  };
  return target;
}

/** Never rejects for an exit code other than 0: what kubectl says then is the subject of a test. */
function kubectl(
  kubeconfig: string,
  args: readonly string[],
  { namespace, input, env }: KubectlOptions,
): Promise<Printed> {
  const all = [
    `--kubeconfig=${kubeconfig}`,
    ...(namespace === undefined ? [] : [`--namespace=${namespace}`]),
    ...args,
  ];
  return new Promise((resolve, reject) => {
    const child = execFile(
      "kubectl",
      all,
      {
        timeout: KUBECTL_TIMEOUT_MS,
        maxBuffer: OUTPUT_BYTES_MAX,
        env: { ...process.env, ...env },
      },
      (error, stdout, stderr) => {
        if (error === null) resolve({ code: 0, stdout, stderr });
        else if (typeof error.code === "number") resolve({ code: error.code, stdout, stderr });
        else reject(error);
      },
    );
    child.stdin?.end(input ?? "");
  });
}
