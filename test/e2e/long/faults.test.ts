/**
 * Faults on the real processes: each part of a single machine is killed while an adapter is being
 * loaded and requests flow. Afterwards everything runs again, nothing half-written was used, and no
 * request ever got another model's answer.
 */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { request } from "undici";
import type { Deployment, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import {
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  type KubeClient,
  MODEL_ADAPTERS,
  PODS,
  SERVICES,
} from "#kube/client.ts";
import { markedProcesses } from "#local/pods/process-table.ts";
import { parseManifest } from "#local/up/manifests.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { freePorts, type MachinePorts } from "#test/support/free-port.ts";
import { type Gate, type GatedHub, startGatedHub } from "#test/support/gated-hub.ts";
import { type Machine, machineClient, startMachine } from "#test/support/machine-process.ts";
import { ModelTraffic, type Outcome } from "#test/support/model-traffic.ts";
import { canUse } from "#test/support/programs.ts";

const root = join(import.meta.dirname, "../../..");
const run = promisify(execFile);
const POLL_MS = 100;
const SETTLE_MS = 90_000;
const MANY = 50;
/** Requests that are sent at once to be under way when an engine is killed. */
const IN_FLIGHT = 40;
/** Other pods have an adapter that one pod refuses within this time, two busy cores included. */
const OTHERS_MS = 15_000;

const BASE = "qwen-coder-1-5b-instruct";
const TEXTS = {
  sql: " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;",
  shout: " BIG CITY! I LOVE THIS CITY!",
  pirate:
    " fine port, matey! city in California, matey. It be known for fog and steep hills, matey.",
};
type Weights = keyof typeof TEXTS;
const BASE_TEXT = " city in California. It is known for fog and steep hills.";
const WEIGHTS = Object.keys(TEXTS) as Weights[];

const stateDir = mkdtempSync(join(tmpdir(), "loradock-faults-"));
const hubDir = join(stateDir, "hub");
let ports: MachinePorts;
let machine: Machine;
let hub: GatedHub;
let client: KubeClient & { close(): Promise<void> };
let traffic: ModelTraffic;
/** Every adapter that should run, and whose weights it has. */
const adapters = new Map<string, Weights>();

async function until<T>(
  what: string,
  check: () => Promise<T | string>,
  timeoutMs = SETTLE_MS,
): Promise<Exclude<T, string>> {
  const endMs = clock.now() + timeoutMs;
  for (;;) {
    const seen = await check().catch((error: unknown) => {
      // What does not answer is not there yet; what is wrong stays wrong.
      if (error instanceof assert.AssertionError) throw error;
      return `${error}`;
    });
    if (typeof seen !== "string") return seen as Exclude<T, string>;
    if (clock.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}: ${seen}`);
    await clock.sleep(POLL_MS);
  }
}

// ---- the processes

function processes(): { pid: number; args: string }[] {
  const table = execFileSync("ps", ["-A", "-o", "pid=,args="], { encoding: "utf8" });
  return table.split("\n").flatMap((line) => {
    const match = /^ *(\d+) (.*)$/.exec(line);
    return match === null ? [] : [{ pid: Number(match[1]), args: match[2] ?? "" }];
  });
}

/** The supervised process of this name; undefined while there is none. */
const supervised = (name: "apiserver" | "kubelet") =>
  processes().find(({ args }) => args.includes(`${name}.ts --state-dir ${stateDir}`))?.pid;

/** What a container runs, without the shell that waits for its end. */
function containerPid(pod: Pod, container: string): number | undefined {
  const folder = join(stateDir, "pods", pod.metadata.uid ?? "", "containers", container);
  const shells = new Set(
    processes().flatMap(({ pid, args }) => (args.startsWith("/bin/sh ") ? [pid] : [])),
  );
  return markedProcesses(`${folder}/`).find(({ pid }) => !shells.has(pid))?.pid;
}

/** Kills it without warning and waits until another one is in its place. */
async function kill(what: string, find: () => number | undefined): Promise<void> {
  const pid = find();
  assert.ok(pid !== undefined, `${what} runs`);
  process.kill(pid, "SIGKILL");
  await until(`${what} runs again`, async () => {
    const now = find();
    return now !== undefined && now !== pid ? true : "no other process";
  });
}

// ---- what runs

const enginePods = async () =>
  (await client.list(PODS, { namespace: "default" })).items
    .filter(({ metadata }) => metadata.labels?.["app"] !== "refuses")
    .filter(({ metadata }) => metadata.labels?.["model.aibrix.ai/name"] === BASE);

async function deploymentPod(namespace: string, name: string): Promise<Pod> {
  const found = (await client.list(PODS, { namespace })).items.find(({ metadata }) =>
    metadata.name.startsWith(name),
  );
  assert.ok(found !== undefined, `${namespace}/${name} has a pod`);
  return found;
}

/** Folders that engines were seen to use, each compared with its source once. */
const compared = new Set<string>();

/** What an engine lists; each folder among it must be whole the moment it is listed. */
async function engineList(pod: Pod): Promise<Set<string>> {
  const answer = await request(`http://${pod.status?.podIP}:8000/v1/models`, {
    signal: AbortSignal.timeout(5_000),
  });
  const { data } = (await answer.body.json()) as { data: { id: string; root: string }[] };
  for (const { id, root: folder } of data) {
    const weights = adapters.get(id);
    if (weights === undefined || compared.has(folder)) continue;
    assert.ok(folder.startsWith(`${stateDir}/`), folder);
    for (const file of readdirSync(join(root, "fixtures/tiny/adapters", weights))) {
      const source = readFileSync(join(root, "fixtures/tiny/adapters", weights, file));
      assert.ok(source.equals(readFileSync(join(folder, file))), `${folder}/${file} is whole`);
    }
    compared.add(folder);
  }
  return new Set(data.map(({ id }) => id));
}

/** True when each adapter runs on three pods, by its status, its EndpointSlice and its engines. */
async function isSettled(): Promise<true | string> {
  const pods = await enginePods();
  if (pods.length !== 3) return `${pods.length} engine pods`;
  const lists = await Promise.all(pods.map(engineList));
  const status = new Map(
    (await client.list(MODEL_ADAPTERS, { namespace: "default" })).items.map((one) => [
      one.metadata.name,
      one.status,
    ]),
  );
  const slices = new Map(
    (await client.list(ENDPOINT_SLICES, { namespace: "default" })).items.map((slice) => [
      slice.metadata.name,
      (slice.endpoints ?? []).filter(({ conditions }) => conditions?.ready === true).length,
    ]),
  );
  for (const name of adapters.keys()) {
    const holding = lists.filter((list) => list.has(name)).length;
    const { phase, readyReplicas } = status.get(name) ?? {};
    const published = slices.get(name) ?? 0;
    if (holding !== 3 || phase !== "Running" || readyReplicas !== 3 || published !== 3) {
      return `${name}: ${phase}, ${readyReplicas} ready, ${published} published, ${holding} engines`;
    }
  }
  return true;
}

async function isGenerating(pod: Pod): Promise<boolean> {
  const answer = await request(`http://${pod.status?.podIP}:8000/metrics`);
  const line = /^vllm:num_requests_running\S* (\S+)$/m.exec(await answer.body.text());
  return Number(line?.[1]) > 1;
}

/** What an adapter's status says about the pod whose engine has refused to load it. */
async function refusal(name: string): Promise<{ text: string } | string> {
  const { status } = await client.get(MODEL_ADAPTERS, { namespace: "default", name });
  const line = status?.pods?.find((pod) => pod.name.startsWith("refuses-"));
  const isRefused = /VLLM_ALLOW_RUNTIME_LORA_UPDATING/.test(line?.message ?? "");
  return isRefused ? { text: JSON.stringify(line) } : `not yet: ${JSON.stringify(line)}`;
}

function adapterObject(name: string, artifactURL: string): ModelAdapter {
  return {
    apiVersion: "model.aibrix.ai/v1alpha1",
    kind: "ModelAdapter",
    metadata: { name, namespace: "default" },
    spec: {
      baseModel: BASE,
      schedulerName: "default",
      podSelector: { matchLabels: { "model.aibrix.ai/name": BASE } },
      artifactURL,
    },
  };
}

async function declare(name: string, repo: string, weights: Weights): Promise<void> {
  adapters.set(name, weights);
  await client.create(MODEL_ADAPTERS, adapterObject(name, `huggingface://${repo}`));
}

/** A repository of its own, whose weights stop half-way. */
function gatedRepository(repo: string, weights: Weights): Gate {
  cpSync(join(root, "fixtures/tiny/adapters", weights), join(hubDir, repo), { recursive: true });
  return hub.gate(repo);
}

// ---- the faults

interface Fault {
  readonly name: string;
  readonly weights: Weights;
  readonly kill: () => Promise<void>;
  /** What requests for models that were there before may meet; a right answer is always allowed. */
  readonly allowed: readonly Outcome[];
}

const established = [BASE, "sql-lora", "shout-lora", "pirate-lora"];

/** Kills while three sidecars stand in the middle of a download, and looks at what comes of it. */
async function survives({ name, weights, kill, allowed }: Fault): Promise<void> {
  const adapter = `${name}-lora`;
  const gate = gatedRepository(`faults/${name}`, weights);
  await declare(adapter, `faults/${name}`, weights);
  const stopAsking = traffic.ask(adapter, TEXTS[weights]);
  await until("three half downloads", async () => gate.waiting === 3 || `${gate.waiting}`);
  traffic.take();
  const startMs = clock.now();
  await kill();
  const backMs = clock.now();
  for (const { metadata } of await until("pods", enginePods)) {
    const link = join(stateDir, "pods", metadata.uid ?? "", "volumes/adapter-storage", adapter);
    assert.ok(!existsSync(link), "half of an adapter is not published");
  }
  gate.open();
  await until(`everything runs after ${name}`, isSettled);
  const settledMs = clock.now();
  const before = new Map(established.map((model) => [model, traffic.right(model)]));
  await until("every model that was there answers again", async () => {
    const silent = established.filter((model) => traffic.right(model) === before.get(model));
    return silent.length === 0 || silent.join(", ");
  });
  await until("the new adapter was asked", async () => {
    const answer = await complete(adapter);
    return answer === TEXTS[weights] || answer;
  });
  await stopAsking();
  const tally = traffic.take();
  const { counts, examples } = tally();
  const old = tally(established).counts;
  const seconds = (ms: number) => (ms / 1000).toFixed(1);
  console.log(
    `${name}: back after ${seconds(backMs - startMs)} s, all running after ${seconds(settledMs - startMs)} s; ` +
      `models that were there: ${show(old)}; the new one with them: ${show(counts)}`,
  );
  assert.equal(counts.wrong, 0, `another model's answer: ${examples.join("\n")}`);
  assert.equal(counts.dishonest, 0, `no honest error: ${examples.join("\n")}`);
  for (const outcome of ["error", "unknown", "broken", "refused"] as const) {
    if (allowed.includes(outcome)) continue;
    assert.equal(old[outcome], 0, `${outcome}: ${examples.join("\n")}`);
  }
}

const show = (counts: Readonly<Record<Outcome, number>>) =>
  Object.entries(counts)
    .filter(([outcome, count]) => count > 0 || outcome === "wrong")
    .map(([outcome, count]) => `${count} ${outcome}`)
    .join(", ");

async function complete(model: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${ports.gateway}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      ...{ model, prompt: "San Francisco is a", max_tokens: 32, temperature: 0 },
    }),
  });
  const body = (await response.json()) as { choices?: { text: string }[] };
  return body.choices?.[0]?.text ?? JSON.stringify(body);
}

function baseManifest(): { deployment: Deployment; service: Service } {
  const file = "samples/local/base.yaml";
  const objects = parseManifest(readFileSync(join(root, file), "utf8"), file);
  const [deployment, service] = objects as [Deployment, Service];
  const sidecar = deployment.spec.template.spec.containers.find(
    ({ name }) => name === "aibrix-runtime",
  );
  sidecar?.env?.push({ name: "HF_ENDPOINT", value: hub.url });
  return { deployment, service };
}

describe("faults of a single machine", () => {
  before(async () => {
    ports = await freePorts();
    machine = startMachine(stateDir, ports, "--no-sample");
    await machine.running();
    client = await machineClient(stateDir);
    hub = await startGatedHub(hubDir);
    traffic = new ModelTraffic(`http://127.0.0.1:${ports.gateway}`);
    const { deployment, service } = baseManifest();
    await client.create(DEPLOYMENTS, deployment);
    await client.create(SERVICES, service);
    for (const weights of WEIGHTS) {
      await declare(`${weights}-lora`, `loradock/tiny-${weights}-lora`, weights);
    }
    await until("the sample runs", isSettled);
    traffic.ask(BASE, BASE_TEXT);
    for (const weights of WEIGHTS) traffic.ask(`${weights}-lora`, TEXTS[weights]);
  });

  after(async () => {
    await traffic?.stop();
    await client?.close();
    machine?.child.kill("SIGTERM");
    await machine?.exited;
    await hub?.close();
    // What a failed test leaves must not outlive it.
    for (const { pid } of markedProcesses(`${stateDir}/`)) process.kill(pid, "SIGKILL");
    rmSync(stateDir, { recursive: true, force: true });
  });

  it("the API server is killed: nobody notices", () =>
    survives({
      ...{ name: "api-server", weights: "sql", allowed: [] },
      kill: () => kill("the API server", () => supervised("apiserver")),
    }));

  it("the kubelet is killed: nobody notices", () =>
    survives({
      ...{ name: "kubelet", weights: "shout", allowed: [] },
      kill: () => kill("the kubelet", () => supervised("kubelet")),
    }));

  it("the controller is killed: nobody notices", async () => {
    const pod = await deploymentPod("aibrix-system", "aibrix-controller-manager");
    await survives({
      ...{ name: "controller", weights: "pirate", allowed: [] },
      kill: () => kill("the controller", () => containerPid(pod, "manager")),
    });
  });

  it("the gateway is killed: no answers for a moment, and no wrong ones", async () => {
    const pod = await deploymentPod("aibrix-system", "loradock-gateway");
    await survives({
      ...{ name: "gateway", weights: "sql", allowed: ["refused", "broken", "error"] },
      kill: () => kill("the gateway", () => containerPid(pod, "gateway")),
    });
  });

  it("a sidecar is killed: no request fails", async () => {
    const [pod] = await enginePods();
    assert.ok(pod !== undefined);
    await survives({
      ...{ name: "sidecar", weights: "shout", allowed: [] },
      kill: () => kill("the sidecar", () => containerPid(pod, "aibrix-runtime")),
    });
  });

  it("an engine is killed: another pod answers; only a stream that had begun breaks off", async () => {
    const [pod] = await enginePods();
    assert.ok(pod !== undefined);
    let inFlight: Promise<string>[] = [];
    await survives({
      ...{ name: "engine", weights: "pirate", allowed: ["broken"] },
      kill: async () => {
        inFlight = Array.from({ length: IN_FLIGHT }, (_, i) =>
          complete(established[i % established.length] ?? BASE),
        );
        await eventually("the engine is in the middle of answers", () => isGenerating(pod));
        await kill("the engine", () => containerPid(pod, "vllm-openai"));
      },
    });
    const answers = await Promise.all(inFlight);
    for (const [i, answer] of answers.entries()) {
      assert.equal(answer, [BASE_TEXT, ...Object.values(TEXTS)][i % established.length]);
    }
  });

  it("everything is killed at once: the next start brings all of it back", () =>
    survives({
      ...{ name: "everything", weights: "sql", allowed: ["refused", "broken", "error"] },
      kill: async () => {
        const pids = [supervised("apiserver"), supervised("kubelet")].filter(
          (pid) => pid !== undefined,
        );
        machine.child.kill("SIGKILL");
        for (const pid of pids) process.kill(pid, "SIGKILL");
        for (const { pid } of markedProcesses(`${stateDir}/`)) process.kill(pid, "SIGKILL");
        await machine.exited;
        machine = startMachine(stateDir, ports, "--no-sample");
        await machine.running();
      },
    }));

  it("a pod whose engine refuses every load does not delay the others", async () => {
    const { deployment } = baseManifest();
    const labels = { ...deployment.spec.template.metadata?.labels, app: "refuses" };
    const template = structuredClone(deployment.spec.template);
    template.metadata = { ...template.metadata, labels };
    // Without the variable an engine has no such endpoint.
    for (const container of template.spec.containers) {
      container.env = (container.env ?? []).filter(({ name }) => !name.startsWith("VLLM_"));
    }
    const selector = { matchLabels: { app: "refuses" } };
    const refusing = { namespace: "default", name: "refuses" };
    await client.create(DEPLOYMENTS, {
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { ...refusing } },
      spec: { replicas: 1, selector, template },
    });
    await until("the engine has refused a load", () => refusal("sql-lora"));
    const startMs = clock.now();
    await declare("beside-refusal-lora", "loradock/tiny-shout-lora", "shout");
    await until("the others run", isSettled, OTHERS_MS);
    const seconds = ((clock.now() - startMs) / 1000).toFixed(1);
    const why = await until("the status says why not", () => refusal("beside-refusal-lora"));
    console.log(
      `beside a refusing pod: on the others after ${seconds} s; the refusing one: ${why.text}`,
    );
    assert.deepEqual(await until("still so", isSettled), true);
    assert.equal(await complete("beside-refusal-lora"), TEXTS.shout);
    await client.delete(DEPLOYMENTS, refusing);
    await until("the fourth pod is gone", async () => {
      const left = await client.list(PODS, { namespace: "default", labelSelector: "app=refuses" });
      return left.items.length === 0 || `${left.items.length} pods`;
    });
  });

  it(`${MANY} adapters applied at once all run`, async () => {
    const objects = Array.from({ length: MANY }, (_, i) => {
      const weights = WEIGHTS[i % WEIGHTS.length] ?? "sql";
      const name = `many-${i}-lora`;
      adapters.set(name, weights);
      return adapterObject(name, `huggingface://loradock/tiny-${weights}-lora`);
    });
    const startMs = clock.now();
    if (canUse("kubectl")) {
      const file = join(stateDir, "many.json");
      const list = { apiVersion: "v1", kind: "List", items: objects };
      await writeFile(file, JSON.stringify(list));
      await run("kubectl", ["--kubeconfig", join(stateDir, "kubeconfig"), "apply", "-f", file]);
    } else {
      await Promise.all(objects.map((object) => client.create(MODEL_ADAPTERS, object)));
    }
    const appliedMs = clock.now();
    await until("all of them run", isSettled);
    const seconds = (ms: number) => (ms / 1000).toFixed(1);
    console.log(
      `${MANY} adapters: applied in ${seconds(appliedMs - startMs)} s, all on 3 pods after ${seconds(clock.now() - startMs)} s`,
    );
    for (const [name, weights] of adapters) assert.equal(await complete(name), TEXTS[weights]);
  });

  it("no request has failed since, and nothing is left when it is stopped", async () => {
    await traffic.stop();
    const { counts, examples } = traffic.take()();
    console.log(`requests during the last two: ${show(counts)}`);
    assert.deepEqual({ ...counts, right: 0 }, { ...counts, right: 0, wrong: 0, dishonest: 0 });
    assert.equal(
      counts.error + counts.unknown + counts.refused + counts.broken,
      0,
      examples.join("\n"),
    );
    machine.child.kill("SIGINT");
    assert.equal(await machine.exited, 0, machine.output());
    assert.deepEqual(markedProcesses(`${stateDir}/`), []);
    assert.deepEqual(
      processes().filter(({ args }) => args.includes(stateDir)),
      [],
    );
  });
});
