/**
 * Figures of the sidecar: downloads from S3 against s5cmd, from the other stores against S3, memory and
 * start, a cached adapter's load, and the translation of metrics. Everything in turns on one machine,
 * so that ratios hold where times do not. Prints them and writes them to the file that is named,
 * `bench/runtime.json` otherwise: `node bench/runtime.ts [file]`. Needs Go, to build s5cmd.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { startFakeEngine } from "#test/support/fake-engine.ts";
import { type Cost, costOf, Sidecar, startStore } from "./processes.ts";
import { buildS5cmd } from "./s5cmd.ts";

const root = join(import.meta.dirname, "..");
const ROUNDS = 5;
const STARTS = 7;
const MIB = 2 ** 20;
const MANY = Array.from({ length: 20 }, (_, i) => `many-${String(i).padStart(2, "0")}`);
const CACHED_BYTES = 100_000_000;
const EXPOSITION_BYTES = 210_000;
const SCRAPES = 200;
/** What AIBrix' sidecar makes of such an exposition, by its own users' figures. */
const AIBRIX_SCRAPES_PER_SECOND = 11;

const s5cmd = buildS5cmd();
const folder = mkdtempSync(join(tmpdir(), "loradock-bench-"));
const engine = await startFakeEngine();
const store = await startStore({
  warm: MIB,
  large: 512 * MIB,
  "crc32-warm": MIB,
  "crc32-large": 512 * MIB,
  huge: 2048 * MIB,
  cached: CACHED_BYTES,
  ...Object.fromEntries(MANY.map((name) => [name, 10 * MIB])),
});
const caFile = join(folder, "ca.pem");
writeFileSync(caFile, store.ca);

const round = (value: number, digits = 2) => Number(value.toFixed(digits));
const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

type Scheme = "http" | "https";
const keys = {
  AWS_ACCESS_KEY_ID: "bench",
  AWS_SECRET_ACCESS_KEY: "bench",
  AWS_REGION: "us-east-1",
};
const envOf = (scheme: Scheme): Record<string, string> => ({
  INFERENCE_ENGINE_ENDPOINT: engine.url,
  SSL_CERT_FILE: caFile,
  AWS_ENDPOINT_URL_S3: store[scheme],
  STORAGE_EMULATOR_HOST: store[scheme],
  HF_ENDPOINT: store[scheme],
  // Nothing of an earlier round may help the next one.
  ARTIFACT_CACHE_SIZE: "0",
  ...keys,
});

const sources = {
  s3: (name: string) => `s3://artifacts/${name}`,
  s3WithCrc32: (name: string) => `s3://artifacts/crc32-${name}`,
  gcs: (name: string) => `gs://artifacts/${name}`,
  huggingface: (name: string) => `huggingface://bench/${name}`,
  http: (name: string, scheme: Scheme) => `${store[scheme]}/files/${name}`,
};

async function runS5cmd(scheme: Scheme, from: string): Promise<Cost> {
  const into = mkdtempSync(join(folder, "s5cmd-"));
  const args = ["--endpoint-url", store[scheme], "cp", `s3://artifacts/${from}`, `${into}/`];
  const cost = await costOf(s5cmd, args, { ...keys, AWS_CA_BUNDLE: caFile });
  rmSync(into, { recursive: true });
  return cost;
}

/** Loads adapters at once; their files are gone, and the sidecar at rest, when it returns. */
async function runSidecar(sidecar: Sidecar, urls: Record<string, string>): Promise<Cost> {
  const names = Object.keys(urls);
  const load = () => Promise.all(names.map((name) => sidecar.load(name, urls[name] ?? "")));
  const cost = await sidecar.measure(load);
  await sidecar.rest();
  for (const name of names) await sidecar.unload(name);
  return cost;
}

type Series = Record<string, Cost[]>;

/** One thing after the other, again and again. */
async function inTurns(runs: Record<string, () => Promise<Cost>>): Promise<Series> {
  const series: Series = {};
  for (let i = 0; i < ROUNDS; i++) {
    for (const [name, run] of Object.entries(runs)) {
      series[name] = [...(series[name] ?? []), await run()];
    }
  }
  return series;
}

/** Medians, and the median of what each round's time was in terms of `base`'s in the same round. */
function summary(series: Series, base: string) {
  const reference = series[base] ?? [];
  return Object.fromEntries(
    Object.entries(series).map(([name, costs]) => [
      name,
      {
        seconds: round(median(costs.map(({ seconds }) => seconds))),
        cpuSeconds: round(median(costs.map(({ cpuSeconds }) => cpuSeconds))),
        [`timesOf_${base}`]: round(
          median(costs.map(({ seconds }, i) => seconds / (reference[i]?.seconds ?? Number.NaN))),
        ),
      },
    ]),
  );
}

async function benchDownloads(scheme: Scheme) {
  const sidecar = await Sidecar.start(envOf(scheme));
  for (const urlOf of Object.values(sources)) {
    await runSidecar(sidecar, { warm: urlOf("warm", scheme) });
  }
  const ours = Object.fromEntries(
    Object.entries(sources).map(([source, urlOf]) => [
      source,
      () => runSidecar(sidecar, { large: urlOf("large", scheme) }),
    ]),
  );
  const large = await inTurns({
    s5cmd: () => runS5cmd(scheme, "large/adapter_model.safetensors"),
    ...ours,
  });
  const urls = Object.fromEntries(MANY.map((name) => [name, sources.s3(name)]));
  const many = await inTurns({
    s5cmd: () => runS5cmd(scheme, "many-*"),
    s3: () => runSidecar(sidecar, urls),
  });
  await sidecar.stop();
  return {
    "512MiB": summary(large, "s5cmd"),
    "512MiBtoS3": summary(large, "s3"),
    "20x10MiB": summary(many, "s5cmd"),
  };
}

async function benchStart() {
  const starts: number[] = [];
  const idle: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    const sidecar = await Sidecar.start(envOf("http"));
    starts.push(sidecar.startMs);
    await sidecar.rest();
    idle.push(sidecar.rssMib);
    await sidecar.stop();
  }
  return { startMs: Math.round(median(starts)), idleRssMib: Math.round(median(idle)) };
}

async function peakMib(scheme: Scheme, url: string): Promise<number> {
  const sidecar = await Sidecar.start(envOf(scheme));
  await sidecar.load("huge", url);
  const peak = sidecar.peakMib;
  await sidecar.stop();
  return Math.round(peak);
}

async function benchCached() {
  const sidecar = await Sidecar.start({ ...envOf("http"), ARTIFACT_CACHE_SIZE: "1Gi" });
  await sidecar.load("cached", sources.s3("cached"));
  await sidecar.rest();
  const [restarted, renamed, engines]: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < ROUNDS; i++) {
    engine.held.clear();
    const again = await sidecar.measure(() => sidecar.load("cached", sources.s3("cached")));
    restarted.push(again.seconds * 1000);
    await sidecar.rest();
    const other = await sidecar.measure(() => sidecar.load(`other-${i}`, sources.s3("cached")));
    renamed.push(other.seconds * 1000);
    await sidecar.rest();
    const startedAt = performance.now();
    const body = JSON.stringify({ lora_name: `direct-${i}`, lora_path: "/x" });
    await (await fetch(`${engine.url}/v1/load_lora_adapter`, { method: "POST", body })).text();
    engines.push(performance.now() - startedAt);
  }
  await sidecar.stop();
  const own = median(engines);
  return {
    engineMs: round(own, 1),
    engineRestartedMsMore: round(median(restarted) - own, 1),
    underAnotherNameMsMore: round(median(renamed) - own, 1),
  };
}

/** The recorded exposition as of several engines behind one port: as many as make it so long. */
function expanded(text: string, bytes: number): string {
  const lines = text.split("\n");
  for (let engines = 1; ; engines++) {
    const copies = Array.from({ length: engines }, (_, i) => `engine="${i}"`);
    const all = lines.flatMap((line) => {
      if (line === "" || line.startsWith("#")) return [line];
      return copies.map((label) => line.replace('engine="0"', label));
    });
    const longer = all.join("\n");
    if (longer.length >= bytes) return longer;
  }
}

async function benchMetrics() {
  const recording = join(root, "fixtures/vllm-recordings/metrics.txt");
  engine.metrics = expanded(readFileSync(recording, "utf8"), EXPOSITION_BYTES);
  const sidecar = await Sidecar.start(envOf("http"));
  const scrape = async () => {
    const text = await (await sidecar.get("/metrics")).text();
    if (!text.includes("\naibrix:queue_size{")) throw new Error("nothing was translated");
  };
  const scrapes = async () => {
    for (let i = 0; i < SCRAPES; i++) await scrape();
  };
  await scrapes();
  const { seconds, cpuSeconds } = await sidecar.measure(scrapes);
  await sidecar.stop();
  return {
    bytes: engine.metrics.length,
    scrapesPerSecond: Math.round(SCRAPES / seconds),
    timesOfAibrix: round(SCRAPES / seconds / AIBRIX_SCRAPES_PER_SECOND, 1),
    cpuMsEach: round((cpuSeconds * 1000) / SCRAPES, 1),
  };
}

try {
  const figures = {
    node: process.version,
    cpus: cpus().length,
    rounds: ROUNDS,
    start: await benchStart(),
    metrics: await benchMetrics(),
    cached100MB: await benchCached(),
    peakRssMibWith2GiB: {
      s3: await peakMib("http", sources.s3("huge")),
      s3OverTls: await peakMib("https", sources.s3("huge")),
      gcs: await peakMib("http", sources.gcs("huge")),
      huggingface: await peakMib("https", sources.huggingface("huge")),
    },
    http: await benchDownloads("http"),
    https: await benchDownloads("https"),
  };
  const text = `${JSON.stringify(figures, null, 2)}\n`;
  console.log(text);
  writeFileSync(process.argv[2] ?? join(root, "bench/runtime.json"), text);
} finally {
  store.stop();
  await engine.close();
  rmSync(folder, { recursive: true, force: true });
}
