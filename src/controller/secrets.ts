import type { ModelAdapter } from "#api/model-adapter.ts";
import { API_KEY_CONFIG } from "#api/names.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf, UserError } from "#base/errors.ts";
import { isNotFound, type KubeClient, SECRETS } from "#kube/client.ts";
import type { Log } from "#telemetry/log.ts";

/** How old a read may be; also the pause after which the Secrets of failing adapters are read again. */
const FRESH_MS = 10_000;

/** Where an engine's key comes from. A text that stands for it is no secret: a clear key is replaced by its hash. */
export type Auth =
  | { readonly kind: "none" }
  | { readonly kind: "clear"; readonly key: string }
  | {
      readonly kind: "secret";
      readonly namespace: string;
      readonly name: string;
      readonly key: string;
    };

/** The key that an adapter's spec names for the engine. */
export function authOf({ metadata, spec }: ModelAdapter): Auth {
  const { apiKeySecretRef: ref, additionalConfig } = spec;
  if (ref !== undefined) {
    return { kind: "secret", namespace: metadata.namespace ?? "", name: ref.name, key: ref.key };
  }
  const key = additionalConfig?.[API_KEY_CONFIG];
  return key === undefined || key === "" ? { kind: "none" } : { kind: "clear", key };
}

/** Secret -> version. */
export type SecretVersions = ReadonlyMap<string, string | undefined>;

interface Read {
  readonly atMs: number;
  /** Undefined: there is no such Secret. */
  readonly data: Readonly<Record<string, string>> | undefined;
  readonly version: string | undefined;
}

/**
 * Secrets by `get` alone: no list, no watch, so no right to read others. What was read is used for ten seconds; those that failing
 * adapters refer to are read again at that pace.
 */
export class Secrets {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #reads = new Map<string, Read>();
  readonly #pending = new Map<string, Promise<Read>>();
  /** Failing adapter -> the Secrets that it refers to. */
  readonly #watched = new Map<string, readonly string[]>();

  constructor(deps: { client: KubeClient; clock: Clock; log: Log }) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** The engine's key. @throws UserError when the Secret or the key in it is missing */
  async apiKey(auth: Auth, signal: AbortSignal): Promise<string | undefined> {
    if (auth.kind === "none") return undefined;
    if (auth.kind === "clear") return auth.key;
    const data = await this.#data(auth.namespace, auth.name, signal);
    const value = data[auth.key]?.trim();
    if (value === undefined || value === "") {
      throw new UserError(
        `Secret ${auth.namespace}/${auth.name} has no key ${auth.key}: add it, or correct the reference`,
      );
    }
    return value;
  }

  /** What the artifact's store asks for. @throws UserError when the Secret is missing */
  async credentials(
    { metadata, spec }: ModelAdapter,
    signal: AbortSignal,
  ): Promise<Record<string, string> | undefined> {
    const name = spec.credentialsSecretRef?.name ?? "";
    return name === "" ? undefined : this.#data(metadata.namespace ?? "", name, signal);
  }

  /** Those of an adapter's Secrets that were read, and in which version last; undefined: there was none. */
  versionsOf(adapter: ModelAdapter): SecretVersions {
    const reads = refsOf(adapter).map((ref) => [ref, this.#reads.get(ref)] as const);
    return new Map(reads.flatMap(([ref, read]) => (read ? [[ref, read.version]] : [])));
  }

  /** From now on the Secrets of this adapter are read again and again; `failing` false ends it. */
  watch(key: string, adapter: ModelAdapter, failing: boolean): void {
    const refs = refsOf(adapter);
    if (failing && refs.length > 0) this.#watched.set(key, refs);
    else this.#watched.delete(key);
  }

  /** @param onRead hears of each adapter that fails whenever its Secrets were read again. */
  async run(onRead: (key: string) => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#clock.sleep(FRESH_MS, signal).catch(() => {});
      if (signal.aborted) return;
      const refs = new Set([...this.#watched.values()].flat());
      await Promise.all([...refs].map((ref) => this.#refresh(ref, signal)));
      for (const key of this.#watched.keys()) onRead(key);
    }
  }

  async #refresh(ref: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#read(ref, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#log.warn("Secret could not be read, will retry", {
        secret: ref,
        error: messageOf(error),
      });
    }
  }

  async #data(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<Record<string, string>> {
    const ref = `${namespace}/${name}`;
    const known = this.#reads.get(ref);
    const isFresh = known !== undefined && this.#clock.now() - known.atMs < FRESH_MS;
    const { data } = isFresh && known.data !== undefined ? known : await this.#read(ref, signal);
    if (data === undefined) {
      throw new UserError(`Secret ${ref} does not exist: create it, or correct the reference`);
    }
    return data;
  }

  /** Reads once, however many ask at the same time. */
  async #read(ref: string, signal: AbortSignal): Promise<Read> {
    const pending = this.#pending.get(ref) ?? this.#fetch(ref, signal);
    this.#pending.set(ref, pending);
    try {
      const read = await pending;
      this.#reads.set(ref, read);
      return read;
    } finally {
      this.#pending.delete(ref);
    }
  }

  async #fetch(ref: string, signal: AbortSignal): Promise<Read> {
    const [namespace, name = ""] = ref.split("/");
    const atMs = this.#clock.now();
    try {
      const secret = await this.#client.get(SECRETS, { namespace, name }, signal);
      const data = Object.fromEntries(
        Object.entries(secret.data ?? {}).map(([key, value]) => [key, decode(value)]),
      );
      return { atMs, data, version: secret.metadata.resourceVersion };
    } catch (error) {
      if (isNotFound(error)) return { atMs, data: undefined, version: undefined };
      throw error;
    }
  }
}

const decode = (value: string) => Buffer.from(value, "base64").toString("utf8");

function refsOf({ metadata, spec }: ModelAdapter): string[] {
  const names = [spec.credentialsSecretRef?.name, spec.apiKeySecretRef?.name];
  return names
    .filter((name) => name !== undefined && name !== "")
    .map((name) => `${metadata.namespace}/${name}`);
}
