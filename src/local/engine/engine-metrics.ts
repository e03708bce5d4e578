import { Counter, type Family, Gauge, Histogram, type Labels } from "./metric-text.ts";
import type { FinishReason, SchedulerStats, SequenceOutput } from "./protocol.ts";
import { CACHE_BLOCK_POSITIONS } from "./scheduler.ts";

/** What the metrics must know of a sequence before it starts. */
export type TrackedSequence = {
  arrivedAt: number;
  promptTokens: number;
  tokensMax: number;
  adapterName: string | undefined;
  /** Shared by the answers of one prompt (`n`). */
  group: { n: number; open: number; longest: number };
};

type Tracked = TrackedSequence & {
  generated: number;
  queuedAt: number;
  scheduledAt: number;
  firstTokenAt: number;
  lastTokenAt: number;
};

export type EngineMetricsOptions = {
  modelName: string;
  modelLengthMax: number;
  sequencesMax: number;
  /** Undefined when LoRA is off. */
  lorasMax: number | undefined;
};

const LATENCY_BOUNDS = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
];
const TOKEN_LATENCY_BOUNDS = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const FIRST_TOKEN_BOUNDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
];
const STEP_BOUNDS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];
const FINISH_REASONS: (FinishReason | "error" | "repetition")[] = [
  "stop",
  "length",
  "abort",
  "error",
  "repetition",
];

/** 1, 2, 5, 10, 20, 50 ... up to the model's length. */
function tokenBounds(modelLengthMax: number): number[] {
  const bounds: number[] = [];
  for (let ten = 1; ten <= modelLengthMax; ten *= 10) bounds.push(ten, 2 * ten, 5 * ten);
  return bounds.filter((bound) => bound <= modelLengthMax);
}

/** The metrics of generation, in vLLM's names. */
export class EngineMetrics {
  readonly #options: EngineMetricsOptions;
  readonly #labels: Labels;
  readonly #families: Family[] = [];
  readonly #tracked = new Map<number, Tracked>();
  readonly #update: (at: number, outputs: SequenceOutput[], stats: SchedulerStats) => void;

  constructor(options: EngineMetricsOptions) {
    this.#options = options;
    this.#labels = { engine: "0", model_name: options.modelName };
    this.#constants();
    const updateGauges = this.#schedulerGauges();
    this.#cacheCounters();
    const updateRequests = this.#requestMetrics();
    const updateLora = this.#loraGauge();
    this.#cacheInfo();
    this.#update = (at, outputs, stats) => {
      updateGauges(stats);
      updateRequests(at, outputs);
      updateLora(at);
    };
  }

  families(): Family[] {
    return this.#families;
  }

  /** Call before a sequence is submitted. */
  track(id: number, sequence: TrackedSequence): void {
    this.#tracked.set(id, {
      ...sequence,
      generated: 0,
      queuedAt: 0,
      scheduledAt: 0,
      firstTokenAt: 0,
      lastTokenAt: 0,
    });
  }

  onStep(at: number, outputs: SequenceOutput[], stats: SchedulerStats): void {
    this.#update(at, outputs, stats);
  }

  #keep<T extends Family>(family: T): T {
    this.#families.push(family);
    return family;
  }

  #counter(name: string, help: string, ...variants: Labels[]): Counter {
    const counter = this.#keep(new Counter(`vllm:${name}`, help));
    for (const variant of variants.length > 0 ? variants : [{}]) {
      counter.add({ ...this.#labels, ...variant }, 0);
    }
    return counter;
  }

  #gauge(name: string, help: string, ...variants: Labels[]): Gauge {
    const gauge = this.#keep(new Gauge(`vllm:${name}`, help));
    for (const variant of variants.length > 0 ? variants : [{}]) {
      gauge.set({ ...this.#labels, ...variant }, 0);
    }
    return gauge;
  }

  #histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    return this.#keep(new Histogram(`vllm:${name}`, help, bounds).declare(this.#labels));
  }

  /** Features of vLLM that are off here as they are there by default: present, always zero. */
  #constants(): void {
    const use = "for Model Flops Utilization calculations";
    this.#counter(
      "estimated_flops_per_gpu",
      `Estimated number of floating point operations per GPU (${use}).`,
    );
    this.#counter(
      "estimated_read_bytes_per_gpu",
      `Estimated number of bytes read from memory per GPU (${use}).`,
    );
    this.#counter(
      "estimated_write_bytes_per_gpu",
      `Estimated number of bytes written to memory per GPU (${use}).`,
    );
  }

  #schedulerGauges(): (stats: SchedulerStats) => void {
    const running = this.#gauge(
      "num_requests_running",
      "Number of requests in model execution batches.",
    );
    const waiting = this.#gauge(
      "num_requests_waiting",
      "Number of requests waiting to be processed.",
    );
    const byReason = this.#gauge(
      "num_requests_waiting_by_reason",
      "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.",
      { reason: "capacity" },
      { reason: "deferred" },
    );
    this.#gauge(
      "engine_sleep_state",
      "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
      { sleep_state: "awake" },
      { sleep_state: "weights_offloaded" },
      { sleep_state: "discard_all" },
    ).set({ ...this.#labels, sleep_state: "awake" }, 1);
    const cache = this.#gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
    return (stats) => {
      running.set(this.#labels, stats.running);
      waiting.set(this.#labels, stats.waiting);
      byReason.set({ ...this.#labels, reason: "capacity" }, stats.waiting - stats.deferred);
      byReason.set({ ...this.#labels, reason: "deferred" }, stats.deferred);
      cache.set(this.#labels, stats.cacheUsage);
    };
  }

  /** There is no prefix cache here: no queries, no hits. */
  #cacheCounters(): void {
    const tokens = "in terms of number of";
    const external = "External prefix cache";
    const from = "from KV connector cross-instance cache sharing";
    this.#counter("prefix_cache_queries", `Prefix cache queries, ${tokens} queried tokens.`);
    this.#counter("prefix_cache_hits", `Prefix cache hits, ${tokens} cached tokens.`);
    this.#counter(
      "external_prefix_cache_queries",
      `${external} queries ${from}, ${tokens} queried tokens.`,
    );
    this.#counter(
      "external_prefix_cache_hits",
      `${external} hits ${from}, ${tokens} cached tokens.`,
    );
    this.#counter("mm_cache_queries", `Multi-modal cache queries, ${tokens} queried items.`);
    this.#counter("mm_cache_hits", `Multi-modal cache hits, ${tokens} cached items.`);
    this.#counter("num_preemptions", "Cumulative number of preemption from the engine.");
  }

  #requestMetrics(): (at: number, outputs: SequenceOutput[]) => void {
    const addTokens = this.#tokenCounters();
    const observe = this.#requestHistograms();
    return (at, outputs) => {
      let stepTokens = 0;
      for (const output of outputs) {
        const sequence = this.#tracked.get(output.id);
        if (sequence === undefined) continue;
        if (output.token !== undefined) {
          const promptTokens = output.started === undefined ? 0 : sequence.promptTokens;
          stepTokens += promptTokens + 1;
          addTokens(promptTokens);
          observe.token(sequence, output, at);
        }
        if (output.finish !== undefined) {
          observe.finish(sequence, output.finish.reason, at);
          this.#tracked.delete(output.id);
        }
      }
      if (stepTokens > 0) observe.step(stepTokens);
    };
  }

  #tokenCounters(): (promptTokens: number) => void {
    const prompt = this.#counter("prompt_tokens", "Number of prefill tokens processed.");
    const bySource = this.#counter(
      "prompt_tokens_by_source",
      "Number of prompt tokens by source.",
      ...["local_compute", "local_cache_hit", "external_kv_transfer"].map((source) => ({ source })),
    );
    this.#counter("prompt_tokens_cached", "Number of cached prompt tokens (local + external).");
    this.#counter(
      "prompt_tokens_cached_by_source",
      "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
      ...["device", "host", "p2p", "disk", "external_unspecified"].map((source) => ({ source })),
    );
    const generation = this.#counter("generation_tokens", "Number of generation tokens processed.");
    return (promptTokens) => {
      prompt.add(this.#labels, promptTokens);
      bySource.add({ ...this.#labels, source: "local_compute" }, promptTokens);
      generation.add(this.#labels, 1);
    };
  }

  #requestHistograms() {
    const bounds = tokenBounds(this.#options.modelLengthMax);
    const success = this.#counter(
      "request_success",
      "Count of successfully processed requests.",
      ...FINISH_REASONS.map((reason) => ({ finished_reason: reason })),
    );
    this.#rejections = this.#keep(
      new Counter(
        "vllm:admission_rejections",
        "Number of admission attempts rejected by a queue limit, by reason.",
      ),
    );
    for (const reason of ["max_num_queued_reqs", "max_num_queued_tokens"]) this.#reject(reason, 0);
    const promptTokens = this.#histogram(
      "request_prompt_tokens",
      "Number of prefill tokens processed.",
      bounds,
    );
    const generated = this.#histogram(
      "request_generation_tokens",
      "Number of generation tokens processed.",
      bounds,
    );
    const step = this.#histogram(
      "iteration_tokens_total",
      "Histogram of number of tokens per engine_step.",
      STEP_BOUNDS,
    );
    const longest = this.#histogram(
      "request_max_num_generation_tokens",
      "Histogram of maximum number of requested generation tokens.",
      bounds,
    );
    const n = this.#histogram(
      "request_params_n",
      "Histogram of the n request parameter.",
      [1, 2, 5, 10, 20],
    );
    const tokensMax = this.#histogram(
      "request_params_max_tokens",
      "Histogram of the max_tokens request parameter.",
      bounds,
    );
    const times = this.#timeHistograms();
    const preemptions = this.#histogram(
      "request_num_preemptions",
      "Histogram of the number of times a request was preempted.",
      [1, 2, 3, 4, 5, 10, 20],
    );
    const prefillTokens = this.#histogram(
      "request_prefill_kv_computed_tokens",
      "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
      bounds,
    );
    const labels = this.#labels;
    return {
      step: (tokens: number) => step.observe(labels, tokens),
      token: times.token,
      finish: (sequence: Tracked, reason: FinishReason, at: number) => {
        success.add({ ...labels, finished_reason: reason }, 1);
        if (reason === "abort") return;
        promptTokens.observe(labels, sequence.promptTokens);
        generated.observe(labels, sequence.generated);
        tokensMax.observe(labels, sequence.tokensMax);
        preemptions.observe(labels, 0);
        prefillTokens.observe(labels, sequence.promptTokens);
        times.finish(sequence, at);
        const { group } = sequence;
        group.longest = Math.max(group.longest, sequence.generated);
        group.open--;
        if (group.open > 0) return;
        n.observe(labels, group.n);
        longest.observe(labels, group.longest);
      },
    };
  }

  #timeHistograms() {
    const firstToken = this.#histogram(
      "time_to_first_token_seconds",
      "Histogram of time to first token in seconds.",
      FIRST_TOKEN_BOUNDS,
    );
    const nextToken = this.#histogram(
      "inter_token_latency_seconds",
      "Histogram of inter-token latency in seconds.",
      TOKEN_LATENCY_BOUNDS,
    );
    const perToken = this.#histogram(
      "request_time_per_output_token_seconds",
      "Histogram of time_per_output_token_seconds per request.",
      TOKEN_LATENCY_BOUNDS,
    );
    const phase = (name: string, help: string) => this.#histogram(name, help, LATENCY_BOUNDS);
    const spent = (part: string) => `Histogram of time spent in ${part} phase for request.`;
    const total = phase(
      "e2e_request_latency_seconds",
      "Histogram of e2e request latency in seconds.",
    );
    const queue = phase("request_queue_time_seconds", spent("WAITING"));
    const inference = phase("request_inference_time_seconds", spent("RUNNING"));
    const prefill = phase("request_prefill_time_seconds", spent("PREFILL"));
    const decode = phase("request_decode_time_seconds", spent("DECODE"));
    const labels = this.#labels;
    // The two threads read their clocks apart; a difference of some microseconds must not go below zero.
    const seconds = (from: number, to: number) => Math.max(0, to - from) / 1000;
    return {
      token: (sequence: Tracked, { started }: SequenceOutput, at: number) => {
        if (started !== undefined) {
          Object.assign(sequence, started, { firstTokenAt: at });
          firstToken.observe(labels, seconds(sequence.arrivedAt, at));
        } else nextToken.observe(labels, seconds(sequence.lastTokenAt, at));
        sequence.lastTokenAt = at;
        sequence.generated++;
      },
      finish: (sequence: Tracked, at: number) => {
        const { arrivedAt, queuedAt, scheduledAt, firstTokenAt, lastTokenAt, generated } = sequence;
        const decoding = seconds(firstTokenAt, lastTokenAt);
        total.observe(labels, seconds(arrivedAt, at));
        queue.observe(labels, seconds(queuedAt, scheduledAt));
        inference.observe(labels, seconds(scheduledAt, lastTokenAt));
        prefill.observe(labels, seconds(scheduledAt, firstTokenAt));
        decode.observe(labels, decoding);
        perToken.observe(labels, generated > 1 ? decoding / (generated - 1) : 0);
      },
    };
  }

  #rejections: Counter | undefined;

  /** A request was turned away because too many wait. */
  onRejected(): void {
    this.#reject("max_num_queued_reqs", 1);
  }

  #reject(reason: string, count: number): void {
    this.#rejections?.add({ model_name: this.#options.modelName, reason }, count);
  }

  /**
   * Both labels list the adapters of requests that have a token and are not finished: this is what
   * vLLM shows, also while further adapters wait. Old label sets stay; the newest has the highest value.
   */
  #loraGauge(): (at: number) => void {
    const { lorasMax } = this.#options;
    if (lorasMax === undefined) return () => undefined;
    const gauge = this.#keep(
      new Gauge("vllm:lora_requests_info", "Running stats on lora requests."),
    );
    return (at) => {
      const active = [...this.#tracked.values()].filter(({ generated }) => generated > 0);
      const names = [...new Set(active.flatMap(({ adapterName }) => adapterName ?? []))].join(",");
      gauge.set(
        { max_lora: lorasMax, running_lora_adapters: names, waiting_lora_adapters: names },
        at / 1000,
      );
    };
  }

  #cacheInfo(): void {
    const { modelLengthMax, sequencesMax } = this.#options;
    const blocks = sequencesMax * Math.ceil(modelLengthMax / CACHE_BLOCK_POSITIONS);
    this.#keep(new Gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig")).set(
      {
        engine: "0",
        block_size: CACHE_BLOCK_POSITIONS,
        cache_dtype: "auto",
        enable_prefix_caching: "False",
        num_gpu_blocks: blocks,
        kv_cache_size_tokens: blocks * CACHE_BLOCK_POSITIONS,
        kv_cache_max_concurrency: sequencesMax,
      },
      1,
    );
  }
}
