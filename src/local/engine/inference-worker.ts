/** The thread that computes: reads the model, then serves messages until it is terminated. */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { assert } from "#base/assert.ts";
import { messageOf } from "#base/errors.ts";
import { AdapterCache } from "./adapter-cache.ts";
import { Llama } from "./llama.ts";
import { AdapterNotFoundError, readAdapter } from "./lora.ts";
import { readEndTokens } from "./model-config.ts";
import type { FromWorker, ToWorker, WorkerOptions } from "./protocol.ts";
import { Scheduler } from "./scheduler.ts";
import { readTokenizer } from "./tokenizer.ts";

assert(parentPort !== null, "the inference worker runs in a worker thread");
const port = parentPort;
const options = workerData as WorkerOptions;

const model = Llama.read(options.modelFolder);
const tokenizer = readTokenizer(options.modelFolder);
const adapters = new AdapterCache(options.residentAdaptersMax, (folder) =>
  readAdapter(folder, { model: model.config, rankMax: options.rankMax }),
);
const now = () => performance.timeOrigin + performance.now();
const scheduler = new Scheduler({
  model,
  tokenizer,
  endTokens: readEndTokens(options.modelFolder, tokenizer.specialId),
  adapters,
  options,
  now,
  random: Math.random,
});

const post = (message: FromWorker) => port.postMessage(message);

function handle(message: ToWorker): void {
  if (message.kind === "generate") scheduler.add(message.request);
  else if (message.kind === "unload") adapters.forgetPlace(message.adapterId);
  else if (message.kind === "load") load(message.call, message.adapter);
  else {
    const output = scheduler.abort(message.id);
    if (output) post({ kind: "step", at: now(), outputs: [output], stats: scheduler.stats() });
  }
}

function load(call: number, adapter: Parameters<AdapterCache["load"]>[0]): void {
  try {
    adapters.load(adapter);
    post({ kind: "loaded", call, error: undefined });
  } catch (error) {
    const isNotFound = error instanceof AdapterNotFoundError;
    post({ kind: "loaded", call, error: { message: messageOf(error), isNotFound } });
  }
}

/** Steps until nothing is left to do; looks for messages before each, so an abort counts at once. */
function run(): void {
  while (scheduler.hasWork) {
    const { outputs, stats } = scheduler.step();
    post({ kind: "step", at: now(), outputs, stats });
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) break;
      handle(received.message as ToWorker);
    }
  }
}

port.on("message", (message: ToWorker) => {
  handle(message);
  try {
    run();
  } catch (error) {
    // As in vLLM, an adapter that cannot be read when its turn comes takes the whole engine down.
    const reason = error instanceof AdapterNotFoundError ? "no adapter at " : "";
    post({ kind: "died", message: `${reason}${messageOf(error)}` });
    port.close();
  }
});

post({ kind: "ready", vocabularySize: model.config.vocabularySize });
