import { basename } from "node:path";
import { parseArtifactUrl } from "#api/artifact-url.ts";
import { scrubberOf } from "#artifact/credentials.ts";
import type { Delivery } from "#artifact/deliver.ts";
import type { Credentials } from "#artifact/source.ts";
import { checkAdapterName } from "#artifact/store.ts";
import { messageOf } from "#base/errors.ts";
import type { Log } from "#telemetry/log.ts";
import { badRequest } from "./errors.ts";

/** A model as AIBrix's API describes it. */
export interface ModelCard {
  readonly model_name: string;
  readonly model_root_path: string;
  readonly source: string;
  readonly model_status: "downloading" | "downloaded" | "no_operation";
}

/** Models that are downloaded at the same time; further ones are refused until one is done. */
const DOWNLOADS_MAX = 16;

/** Whole models, fetched in the background into a folder of their own; engines are not told of them. */
export class Models {
  readonly #delivery: Delivery;
  readonly #log: Log;
  readonly #signal: AbortSignal;
  readonly #cards = new Map<string, ModelCard>();
  #isOpen = false;

  constructor(delivery: Delivery, log: Log, signal: AbortSignal) {
    this.#delivery = delivery;
    this.#log = log;
    this.#signal = signal;
  }

  /** Begins a download, or tells of the one that is under way. */
  async download(request: {
    uri: string;
    name: string | undefined;
    localDir: string | undefined;
    credentials: Credentials | undefined;
  }): Promise<ModelCard> {
    const { store } = this.#delivery;
    if (request.localDir !== undefined && request.localDir.replace(/\/+$/, "") !== store.root) {
      throw badRequest(`local_dir must be ${store.root}, which DOWNLOADER_LOCAL_DIR sets`);
    }
    // AIBrix's users write hub ids without a scheme.
    const isHubId = /^[\w.-]+\/[\w.-]+$/.test(request.uri);
    const artifactUrl = isHubId ? `huggingface://${request.uri}` : request.uri;
    const url = parseArtifactUrl(artifactUrl);
    if (url.kind === "path") throw badRequest("model_uri is a path: there is nothing to download");
    const name = request.name ?? nameOf(artifactUrl);
    checkAdapterName(name);
    const running = this.#cards.get(name);
    if (running?.model_status === "downloading") return running;
    const active = [...this.#cards.values()].filter((card) => card.model_status === "downloading");
    if (active.length >= DOWNLOADS_MAX) {
      throw badRequest(`${DOWNLOADS_MAX} models are being downloaded: wait for one of them`);
    }
    await this.#open();
    const card: ModelCard = {
      model_name: name,
      model_root_path: store.linkPath(name),
      source: url.kind,
      model_status: "downloading",
    };
    this.#cards.set(name, card);
    const scrub = scrubberOf(request.credentials ?? {}, artifactUrl);
    void this.#delivery
      .deliver({ name, artifactUrl, credentials: request.credentials }, this.#signal)
      .then(() => this.#cards.set(name, { ...card, model_status: "downloaded" }))
      .catch((error: unknown) => {
        this.#cards.set(name, { ...card, model_status: "no_operation" });
        this.#log.error("Downloading model failed", {
          model: name,
          error: scrub(messageOf(error)),
        });
      });
    return card;
  }

  /** What is on disk and what is on its way. */
  async list(): Promise<ModelCard[]> {
    const { store } = this.#delivery;
    const cards = new Map<string, ModelCard>();
    for (const { name, isPublished } of await store.versions()) {
      const version = isPublished ? await store.current(name) : undefined;
      if (version === undefined) continue;
      cards.set(name, {
        model_name: name,
        model_root_path: store.linkPath(name),
        source: parseArtifactUrl(version.record.location).kind,
        model_status: "downloaded",
      });
    }
    for (const [name, card] of this.#cards) {
      if (card.model_status !== "downloaded") cards.set(name, card);
    }
    return [...cards.values()];
  }

  async #open(): Promise<void> {
    if (!this.#isOpen) await this.#delivery.open();
    this.#isOpen = true;
  }
}

function nameOf(url: string): string {
  const path = url.replace(/[?#].*$/s, "").replace(/@[^/]*$/, "");
  return basename(path).replace(/\.(tar|tar\.gz|tgz|zip)$/i, "");
}
