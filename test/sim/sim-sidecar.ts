/** The runtime sidecar of a pod as its HTTP callers see it: fetches, then has the engine load. */
import { hashHex } from "#base/hash.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import type { EngineAnswer } from "#engine/http.ts";
import type { Dice } from "./dice.ts";
import { answer, type SimEngine } from "./sim-engine.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** A request that came in; who sent it may be gone by the time of the answer. */
export interface Incoming {
  readonly path: string;
  readonly body: JsonObject | undefined;
  readonly authorization: string | undefined;
  readonly by: string;
  readonly isWanted: () => boolean;
  readonly reply: (answer: EngineAnswer) => void;
}

/** How an artifact store answers: a failure of its own kind, or none. */
export interface StoreFailure {
  readonly status: number;
  readonly code: string;
  readonly retriable: boolean;
  readonly error: string;
}

/** Where artifacts lie: what is in the bucket `guarded` is given to those alone who bring the key. */
export interface Store {
  key: string;
}

export const GUARDED = "s3://guarded/";
const DENIED: StoreFailure = {
  status: 403,
  code: "AccessDenied",
  retriable: false,
  error: "Access denied: s3://guarded: the credentials are not accepted",
};

export class SimSidecar {
  isDown = false;
  life = 0;
  downloadMs: [number, number] = [10, 400];
  failure: StoreFailure | undefined;
  /** AIBrix's tells only the adapter's folder, the same for all versions. */
  readonly isOurs: boolean;
  readonly #engine: SimEngine;
  readonly #time: VirtualTime;
  readonly #dice: Dice;
  readonly #store: Store;

  constructor(
    engine: SimEngine,
    isOurs: boolean,
    deps: { time: VirtualTime; dice: Dice; store: Store },
  ) {
    this.#engine = engine;
    this.#store = deps.store;
    this.isOurs = isOurs;
    this.#time = deps.time;
    this.#dice = deps.dice;
  }

  handle(incoming: Incoming): void {
    const { path, reply, authorization } = incoming;
    if (path === "/v1/lora_adapter/status") {
      reply(this.#noStatus());
      return;
    }
    if (this.#engine.isDown && !path.endsWith("/load")) {
      reply(this.#engineGone());
      return;
    }
    if (!this.#engine.mayEnter(authorization)) {
      reply(answer(401, { error: "Unauthorized" }));
      return;
    }
    if (path === "/v1/models") {
      reply(this.#engine.list());
      return;
    }
    if (path === "/v1/lora_adapter/unload") {
      reply(this.#unload(incoming));
      return;
    }
    this.#load(incoming);
  }

  #unload({ body }: Incoming): EngineAnswer {
    const name = String(body?.["lora_name"]);
    const said = this.#engine.unload(name);
    // Unknown is as good as unloaded.
    if (said.status === 200 || said.status === 404) {
      return answer(200, { status: "success", message: `unloaded ${name}` });
    }
    return said;
  }

  #load(incoming: Incoming): void {
    const { body = {}, isWanted, reply, by } = incoming;
    const name = String(body["lora_name"]);
    const direct = body["lora_path"];
    if (typeof direct === "string") {
      const order = { name, path: direct, content: direct, inPlace: this.isOurs, by };
      this.#tellEngine(order, isWanted, reply);
      return;
    }
    const { life } = this;
    const url = String(body["artifact_url"]);
    const content = contentOf(url, body["additional_config"]);
    const [min, max] = this.downloadMs;
    this.#time.after(this.#dice.int(min, max), () => {
      // A download that nobody waits for is given up.
      if (this.life !== life || !isWanted()) return;
      const isDenied = url.startsWith(GUARDED) && tokenOf(body["credentials"]) !== this.#store.key;
      const failure = isDenied ? DENIED : this.failure;
      if (failure !== undefined) {
        const { status, ...said } = failure;
        reply(answer(status, said));
        return;
      }
      const root = `/tmp/aibrix/adapters/${name}`;
      const path = this.isOurs
        ? `/tmp/aibrix/adapters/.versions/${name}/${hashHex(content)}`
        : root;
      this.#tellEngine({ name, path, content, inPlace: this.isOurs, by }, isWanted, (said) => {
        if (said.status !== 200) {
          reply(said);
          return;
        }
        const where = this.isOurs ? { local_path: root, loaded_path: path } : { local_path: root };
        reply(answer(200, { status: "success", message: `loaded ${name}`, ...where }));
      });
    });
  }

  #tellEngine(
    order: Parameters<SimEngine["load"]>[0],
    isWanted: () => boolean,
    reply: (answer: EngineAnswer) => void,
  ): void {
    const engine = this.#engine;
    if (engine.isDown) {
      reply(this.#engineGone());
      return;
    }
    const { life } = this;
    const unlessRestarted = (said: EngineAnswer) => {
      if (this.life === life) reply(said);
    };
    engine.load(order, isWanted, unlessRestarted, () => unlessRestarted(this.#engineGone()));
  }

  /** Loads are answered when they have ended; that there is such a route tells whose sidecar it is. */
  #noStatus(): EngineAnswer {
    if (!this.isOurs) return answer(404, { detail: "Not Found" });
    const error = "Not found: no load of this adapter is known";
    return answer(404, { error, code: "NotFound", retriable: false });
  }

  #engineGone(): EngineAnswer {
    const error = "the engine cannot be reached: connection refused";
    return answer(503, { error, code: "EngineUnavailable", retriable: true });
  }
}

const tokenOf = (credentials: unknown) =>
  isObject(credentials) ? credentials["token"] : undefined;

/** What a version of an artifact is, as one text. */
export function contentOf(artifactUrl: string, config: unknown): string {
  const entries = isObject(config) ? Object.entries(config).sort() : [];
  return JSON.stringify([artifactUrl, entries]);
}
