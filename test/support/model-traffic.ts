import { codeOf } from "#base/errors.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";

/** Between two requests for one model: a steady stream that leaves the machine room for its work. */
const PAUSE_MS = 100;
const PROMPT = "San Francisco is a";
const TOKENS_MAX = 32;
/** Of each outcome and model. */
const EXAMPLES_MAX = 2;

/** What became of one request. `wrong` and `dishonest` must never happen. */
export type Outcome =
  /** The whole text of its own model. */
  | "right"
  /** Another text than its model's. */
  | "wrong"
  /** An error in OpenAI's shape. */
  | "error"
  /** The same, and it says that there is no such model. */
  | "unknown"
  /** A stream that broke off in what would have been the right text, and said so. */
  | "broken"
  /** No answer: the connection was refused or cut before one. */
  | "refused"
  /** Neither an answer nor an honest error. */
  | "dishonest";

export interface Tally {
  readonly counts: Readonly<Record<Outcome, number>>;
  /** The first few that were not right, in words. */
  readonly examples: readonly string[];
}

/** Asks every model over and over again and compares each answer with the text of its model. */
export class ModelTraffic {
  readonly #url: string;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #counts = new Map<string, Record<Outcome, number>>();
  #examples: string[] = [];

  constructor(gateway: string) {
    this.#url = `${gateway}/v1/completions`;
  }

  /** From now on `model` is asked, whole answers and streams in turns, until the returned function is called. */
  ask(model: string, text: string): () => Promise<void> {
    const enough = new AbortController();
    const running = this.#run(model, text, AbortSignal.any([this.#stop.signal, enough.signal]));
    this.#running.add(running);
    return async () => {
      enough.abort();
      await running;
      this.#running.delete(running);
    };
  }

  /** What happened since the last call, to `models` or to all. */
  take(): (models?: readonly string[]) => Tally {
    const [counts, examples] = [this.#counts, this.#examples];
    this.#counts = new Map();
    this.#examples = [];
    return (models) => {
      const sum = none();
      for (const [model, of] of counts) {
        if (models !== undefined && !models.includes(model)) continue;
        for (const outcome of Object.keys(sum) as Outcome[]) sum[outcome] += of[outcome];
      }
      return { counts: sum, examples };
    };
  }

  /** How often `model` has answered rightly since the last `take`. */
  right(model: string): number {
    return this.#counts.get(model)?.right ?? 0;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #run(model: string, text: string, signal: AbortSignal): Promise<void> {
    for (let turn = 0; !signal.aborted; turn++) {
      const stream = turn % 2 === 1;
      const { outcome, words } = await this.#once(model, text, stream, signal);
      if (signal.aborted) return;
      const counts = this.#counts.get(model) ?? none();
      this.#counts.set(model, counts);
      counts[outcome]++;
      const isKnown = outcome === "right" || counts[outcome] > EXAMPLES_MAX;
      if (!isKnown) {
        this.#examples.push(`${model}${stream ? " (stream)" : ""}: ${outcome}: ${words}`);
      }
      await clock.sleep(PAUSE_MS, signal).catch(() => {});
    }
  }

  async #once(
    model: string,
    text: string,
    stream: boolean,
    signal: AbortSignal,
  ): Promise<{ outcome: Outcome; words: string }> {
    const question = { model, prompt: PROMPT, max_tokens: TOKENS_MAX, temperature: 0, stream };
    let status = 0;
    let body = "";
    try {
      const response = await fetch(this.#url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(question),
        signal,
      });
      status = response.status;
      for await (const chunk of response.body ?? []) body += Buffer.from(chunk).toString("utf8");
    } catch (error) {
      const why = `${codeOf((error as Error).cause) ?? error}`;
      if (status === 0) return { outcome: "refused", words: why };
      if (stream && status === 200) return broken(body, text, why);
      return { outcome: "dishonest", words: `${status} cut: ${why} ${body.slice(0, 200)}` };
    }
    const words = `${status} ${body.slice(0, 300)}`;
    if (status !== 200) {
      const outcome = !isOpenAiError(body) ? "dishonest" : status === 404 ? "unknown" : "error";
      return { outcome, words };
    }
    const answer = stream ? textOfStream(body) : textOfBody(body);
    if (answer === undefined) return { outcome: "dishonest", words };
    if (answer.text === text && answer.isWhole) return { outcome: "right", words };
    if (!answer.isWhole) return broken(body, text, "ended early");
    return { outcome: "wrong", words };
  }
}

const none = (): Record<Outcome, number> => ({
  ...{ right: 0, wrong: 0, error: 0, unknown: 0, broken: 0, refused: 0, dishonest: 0 },
});

function broken(body: string, text: string, why: string): { outcome: Outcome; words: string } {
  const answer = textOfStream(body);
  const isPart = answer !== undefined && !answer.isWhole && text.startsWith(answer.text);
  const outcome = isPart ? "broken" : answer === undefined ? "dishonest" : "wrong";
  return { outcome, words: `${why}: ${body.slice(-300)}` };
}

function isOpenAiError(body: string): boolean {
  try {
    const { error } = JSON.parse(body) as { error?: { message?: unknown; type?: unknown } };
    return typeof error?.message === "string" && typeof error.type === "string";
  } catch {
    return false;
  }
}

function textOfBody(body: string): { text: string; isWhole: boolean } | undefined {
  try {
    const { choices } = JSON.parse(body) as { choices?: { text?: unknown }[] };
    const text = choices?.[0]?.text;
    return typeof text === "string" ? { text, isWhole: true } : undefined;
  } catch {
    return undefined;
  }
}

/** The text of an event stream so far; whole when it said so itself. */
function textOfStream(body: string): { text: string; isWhole: boolean } | undefined {
  let text = "";
  // What a cut left of an event is no event.
  for (const event of body.split("\n\n").slice(0, -1)) {
    const data = event.replace(/^data: /, "");
    if (data === "[DONE]") return { text, isWhole: true };
    try {
      const { choices, error } = JSON.parse(data) as {
        choices?: { text?: string }[];
        error?: unknown;
      };
      if (error !== undefined) return { text, isWhole: false };
      text += choices?.[0]?.text ?? "";
    } catch {
      return undefined;
    }
  }
  return { text, isWhole: false };
}
