import { Worker } from "node:worker_threads";
import type { AdapterRef } from "./adapter-cache.ts";
import type {
  FromWorker,
  SchedulerStats,
  SequenceOutput,
  SequenceRequest,
  ToWorker,
  WorkerOptions,
} from "./protocol.ts";

/** The computing thread is gone; nothing can be generated any more. The words are vLLM's. */
export class EngineDeadError extends Error {
  override readonly name = "EngineDeadError";

  constructor() {
    super("EngineCore encountered an issue. See stack trace (above) for the root cause.");
  }
}

/** An adapter was refused; `isNotFound` when there is none at its path. */
export class AdapterRefusedError extends Error {
  override readonly name = "AdapterRefusedError";
  readonly isNotFound: boolean;

  constructor(message: string, isNotFound: boolean) {
    super(message);
    this.isNotFound = isNotFound;
  }
}

/** What follows the sequences: the metrics. */
export type InferenceObserver = {
  onStep(at: number, outputs: SequenceOutput[], stats: SchedulerStats): void;
};

type Stream = { queue: SequenceOutput[]; wake: (() => void) | undefined };
type LoadCall = { resolve: () => void; reject: (error: Error) => void };

/** The HTTP thread's side of the computing thread. */
export class Inference {
  readonly #worker: Worker;
  readonly #observer: InferenceObserver;
  readonly #streams = new Map<number, Stream>();
  readonly #loads = new Map<number, LoadCall>();
  readonly #died = Promise.withResolvers<string>();
  #isDead = false;
  #isClosed = false;
  #nextCall = 1;

  private constructor(worker: Worker, observer: InferenceObserver) {
    this.#worker = worker;
    this.#observer = observer;
  }

  /** Starts the thread; resolves when the model is read. @throws when it cannot be read */
  static async start(options: WorkerOptions, observer: InferenceObserver): Promise<Inference> {
    const worker = new Worker(new URL("./inference-worker.ts", import.meta.url), {
      workerData: options,
    });
    const inference = new Inference(worker, observer);
    await new Promise<void>((resolve, reject) => {
      worker.once("error", reject);
      worker.once("message", () => {
        worker.off("error", reject);
        resolve();
      });
    });
    worker.on("message", (message: FromWorker) => inference.#receive(message));
    worker.on("error", (error) => inference.#die(String(error)));
    worker.on("exit", () => inference.#die("the computing thread ended"));
    return inference;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Resolves with the reason if the engine dies; never after `close`. */
  get died(): Promise<string> {
    return this.#died.promise;
  }

  /** Sequences that are not finished. */
  get open(): number {
    return this.#streams.size;
  }

  /**
   * Generates a sequence, token by token. Leaving the loop, or the signal, frees its place at once.
   * @throws EngineDeadError, or the signal's reason
   */
  async *generate(request: SequenceRequest, signal: AbortSignal): AsyncGenerator<SequenceOutput> {
    const stream = this.#submit(request);
    const wake = () => stream.wake?.();
    signal.addEventListener("abort", wake);
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#isDead) throw new EngineDeadError();
        for (const output of stream.queue.splice(0)) {
          if (output.finish !== undefined) this.#streams.delete(request.id);
          yield output;
          if (output.finish !== undefined) return;
        }
        // Nothing can arrive between the look at the queue and this promise: both are synchronous.
        if (stream.queue.length === 0 && !signal.aborted && !this.#isDead) {
          await new Promise<void>((resolve) => {
            stream.wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener("abort", wake);
      if (this.#streams.delete(request.id)) this.#post({ kind: "abort", id: request.id });
    }
  }

  /** Reads an adapter's files into memory. @throws AdapterRefusedError | EngineDeadError */
  load(adapter: AdapterRef): Promise<void> {
    if (this.#isDead) return Promise.reject(new EngineDeadError());
    const call = this.#nextCall++;
    return new Promise((resolve, reject) => {
      this.#loads.set(call, { resolve, reject });
      this.#post({ kind: "load", call, adapter });
    });
  }

  /** An adapter's name was taken off the list; running sequences keep it. */
  unload(adapterId: number): void {
    this.#post({ kind: "unload", adapterId });
  }

  /** Ends the thread; open sequences fail. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#worker.terminate();
  }

  #submit(request: SequenceRequest): Stream {
    if (this.#isDead) throw new EngineDeadError();
    const stream: Stream = { queue: [], wake: undefined };
    this.#streams.set(request.id, stream);
    this.#post({ kind: "generate", request });
    return stream;
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    if (message.kind === "step") this.#deliver(message);
    else if (message.kind === "loaded") {
      const call = this.#loads.get(message.call);
      this.#loads.delete(message.call);
      const { error } = message;
      if (error === undefined) call?.resolve();
      else call?.reject(new AdapterRefusedError(error.message, error.isNotFound));
    } else if (message.kind === "died") this.#die(message.message);
  }

  #deliver(step: { at: number; outputs: SequenceOutput[]; stats: SchedulerStats }): void {
    this.#observer.onStep(step.at, step.outputs, step.stats);
    for (const output of step.outputs) {
      const stream = this.#streams.get(output.id);
      stream?.queue.push(output);
      stream?.wake?.();
    }
  }

  #die(reason: string): void {
    if (this.#isDead) return;
    this.#isDead = true;
    for (const stream of this.#streams.values()) stream.wake?.();
    for (const call of this.#loads.values()) call.reject(new EngineDeadError());
    this.#loads.clear();
    if (!this.#isClosed) this.#died.resolve(reason);
  }
}
