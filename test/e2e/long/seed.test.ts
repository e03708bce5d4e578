/**
 * The page that users of AIBrix have learned LoRA adapters from, command by command, on one machine:
 * its manifests unmodified, its commands as written, and what it promises that they show.
 */
import assert from "node:assert/strict";
import { chmodSync, cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { LocalMachine, newPlace, placeFlags } from "#test/support/local-machine.ts";
import { canUse } from "#test/support/programs.ts";
import { SeedPage } from "#test/support/seed-page.ts";

const page = new SeedPage();
const BASE = "qwen-coder-1-5b-instruct";
const KEY = "sk-kFJ12nKsFakefVmGpj3QzX65s4RbN2xJqWzPYCjYu7wT3BFake";
const TEXT = {
  base: " city in California. It is known for fog and steep hills.",
  sql: " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;",
};
const CONTROLLER_LOG = "kubectl logs -n aibrix-system deployment/aibrix-controller-manager";
const SIDECAR_LOG = "kubectl logs <pod-name> -c aibrix-runtime";
const DESCRIBE = "kubectl describe modeladapter <adapter-name>";
/** `I0830 03:55:42.221143 1 controller.ts:557] "`, as klog begins its lines. */
const KLOG = String.raw`[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w-]+\.ts:\d+\] "`;

let machine: LocalMachine;
const sh = async (command: string, namespace?: string): Promise<string> =>
  (await machine.sh(command, namespace === undefined ? {} : { namespace })).stdout;

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
/** A line of a log in klog's form that begins with these words. */
const logged = (words: string) => new RegExp(`^${KLOG}${escaped(words)}`, "m");

/** Waits as a person would. */
const until = (jsonpath: string, value: string, object: string, namespace = "default") =>
  sh(
    `kubectl wait --timeout=200s -n ${namespace} --for=jsonpath='{${jsonpath}}'=${value} ${object}`,
  );
const running = (adapter: string, namespace?: string) =>
  until(".status.phase", "Running", `modeladapter/${adapter}`, namespace);

async function podsOf(selector: string): Promise<string[]> {
  const names = await sh(`kubectl get pods -l ${selector} -o jsonpath='{.items[*].metadata.name}'`);
  return names.split(" ").sort();
}

/** What `kubectl describe modeladapter` shows below Status, a condition as one line. */
function statusOf(description: string) {
  const condition =
    /^ +Last Transition Time: +\S+\n +Message: +(.*)\n(?: +Observed Generation: .*\n)? +Reason: +(.*)\n +Status: +(.*)\n +Type: +(.*)$/gm;
  return {
    phase: /^ {2}Phase: +(\S+)$/m.exec(description)?.[1],
    conditions: [...description.matchAll(condition)].map(
      ([, message, reason, status, type]) => `${type}=${status} ${reason}: ${message}`,
    ),
    instances: /^ {2}Instances:\n((?: {4}\S+\n)*)/m.exec(description)?.[1]?.trim().split(/\s+/),
    events: [...description.matchAll(/^ {2}(Normal|Warning) +(\w+) +\S.*? {2}\S+ +(.*)$/gm)].map(
      ([, type, reason, message]) => `${type} ${reason} ${message}`,
    ),
  };
}

/** The conditions that the page shows; ours has two more between them. */
const pageConditions = (description: string) =>
  statusOf(description).conditions.filter((line) => /^(Initialized|Scheduled|Ready)=/.test(line));

const readyConditions = (adapter: string, pods: readonly string[]) => [
  "Initialized=Unknown ModelAdapterPending: Starting reconciliation",
  `Scheduled=True Scheduled: ModelAdapter ${adapter} has selected ${pods.length} pods for scheduling: [${pods.join(" ")}]`,
  `Ready=True ModelAdapterAvailable: ModelAdapter ${adapter} is ready`,
];

/** Port 80 of the balancer's address, or the gateway's own port where the system does not give it. */
function endpoint(): string {
  const command = page.endpoint();
  const isOpen = !machine.output.includes("does not answer");
  if (isOpen) return command;
  console.log("port 80 cannot be had here: the gateway's own port is asked instead");
  return `${command}\nENDPOINT=127.0.0.1:${machine.ports.gateway}`;
}

/** Asks as the page does; `-v` tells the status. */
async function complete(curl: string): Promise<{ status: number; text: string }> {
  const { stdout, stderr } = await machine.sh(`${endpoint()}\n${curl}`);
  const status = Number(/^< HTTP\/1\.1 (\d+)/m.exec(stderr)?.[1]);
  const body = JSON.parse(stdout) as { choices?: { text: string }[] };
  return { status, text: body.choices?.[0]?.text ?? stdout };
}

/** An editor for `kubectl edit` that runs sed. */
function editor(name: string, script: string): Readonly<Record<string, string>> {
  const file = join(machine.stateDir, `editor-${name}`);
  writeFileSync(file, `#!/bin/sh\nsed '${script}' "$1" > "$1.new" && mv "$1.new" "$1"\n`);
  chmodSync(file, 0o755);
  return { KUBE_EDITOR: file };
}

const editController = async (name: string, script: string) => {
  const command = page.take("kubectl edit deployment aibrix-controller-manager -n aibrix-system");
  const { stdout } = await machine.sh(command, { env: editor(name, script) });
  assert.match(stdout, /aibrix-controller-manager edited/);
  await sh("kubectl rollout status -n aibrix-system deployment/aibrix-controller-manager");
};

const hasWatch = () =>
  machine.sh("command -v watch").then(
    () => true,
    () => false,
  );

/** `watch ...` until it shows what it should, columns aside; where there is no `watch`, what it would run. */
async function watch(command: string, wanted: RegExp): Promise<void> {
  const env = { TERM: "xterm", LINES: "200", COLUMNS: "300" };
  if (await hasWatch()) await machine.endless(command, [wanted], { env });
  else assert.match(await sh(command.replace(/^watch /, "")), wanted);
}

/** Lets one story wait for a point of another. */
const delegated = Promise.withResolvers<void>();

function baseAndAdapters(): void {
  const adapter = { "adapter-name": "qwen-code-lora", name: "qwen-code-lora" };
  let phases: Promise<string>;
  let pods: string[];

  it("Pending: the adapter is there before its pods are ready", async () => {
    await sh("kubectl apply -f samples/adapter/adapter.yaml");
    await until(".status.phase", "Pending", "modeladapter/qwen-code-lora");
    phases = machine.endless(
      "kubectl get modeladapter qwen-code-lora -w -o jsonpath='{.status.phase} '",
      [/Running/],
    );
    phases.catch(() => {});
    const shown = await sh(page.take("kubectl describe modeladapter qwen-code-lora"));
    const { phase, conditions } = statusOf(shown);
    assert.equal(phase, "Pending");
    assert.equal(conditions[0], "Initialized=Unknown ModelAdapterPending: Starting reconciliation");
    assert.match(conditions[1] ?? "", /^Scheduled=False PodNotReady: .* is not Ready/);
  });

  it("Scheduled to Running: the page's conditions in the page's order", async () => {
    await running("qwen-code-lora");
    await until(".status.readyReplicas", "3", "modeladapter/qwen-code-lora");
    pods = await podsOf(`model.aibrix.ai/name=${BASE}`);
    assert.equal(pods.length, 3);
    const shown = await sh(page.take("kubectl describe modeladapter qwen-code-lora"));
    assert.deepEqual(pageConditions(shown), readyConditions("default/qwen-code-lora", pods));
    assert.equal(statusOf(shown).phase, "Running");
    assert.deepEqual(statusOf(shown).instances, pods);
    const order = ["Pending", "Scheduled", "Loading", "Bound", "Running"];
    const seen = (await phases).trim().split(" ");
    assert.equal(seen[0], "Pending");
    const places = seen.map((phase) => order.indexOf(phase));
    assert.deepEqual(
      places,
      [...places].sort((a, b) => a - b),
      seen.join(),
    );
  });

  it("base model and adapter answer at the page's endpoint", async () => {
    assert.deepEqual(await complete(page.completion(BASE)), { status: 200, text: TEXT.base });
    assert.deepEqual(await complete(page.completion("qwen-code-lora")), {
      status: 200,
      text: TEXT.sql,
    });
  });

  it("Service and EndpointSlice have the adapter's name and labels", async () => {
    const service = await sh(page.take("kubectl get svc <adapter-name>", adapter));
    assert.match(service, /^qwen-code-lora +ClusterIP +None +<none> +8000\/TCP /m);
    const slices = await sh(page.take("kubectl get endpointslices"));
    assert.match(slices, /^qwen-code-lora +IPv4 +8000 +127\.\d+\.\d+\.\d+,127\./m);
    const both = "kubectl get svc,endpointslices -l model.aibrix.ai/name=<adapter-name>";
    const names = (await sh(page.take(both, adapter))).match(/^\S+\/qwen-code-lora /gm);
    assert.deepEqual(names, [
      "service/qwen-code-lora ",
      "endpointslice.discovery.k8s.io/qwen-code-lora ",
    ]);
  });

  it("the commands for debugging and monitoring tell of it", async () => {
    assert.match(await sh(page.take(DESCRIBE, adapter)), /^ {2}Phase: +Running$/m);
    const named = await sh(page.take("kubectl describe modeladapter <name>", adapter));
    assert.match(named, /^Name: +qwen-code-lora$/m);
    const wide = await sh(page.take("kubectl get modeladapters -o wide"));
    assert.match(wide, /^NAME +PHASE +DESIRED +READY +CANDIDATES +MODEL PATH +AGE +INSTANCES /);
    assert.match(wide, /^qwen-code-lora +Running +3 +3 +3 +huggingface:\/\/ai-blond\//m);
    const controller = await sh(page.take(CONTROLLER_LOG));
    assert.match(
      controller,
      logged(
        `Selected pods for adapter scheduling" ModelAdapter="default/qwen-code-lora" selectedPods=["${pods.join('","')}"]`,
      ),
    );
    for (const pod of pods) {
      const words = `Successfully loaded adapter on pod" pod="${pod}" ModelAdapter="default/qwen-code-lora"`;
      assert.match(controller, logged(words));
    }
    const engine = await sh(page.take("kubectl logs <pod-name>", { "pod-name": pods[0] ?? "" }));
    assert.match(engine, /Loaded new LoRA adapter: name 'qwen-code-lora'/);
    const events = await sh(
      page.take("kubectl get events --field-selector involvedObject.kind=ModelAdapter"),
    );
    for (const reason of ["Scheduled", "Loaded"]) {
      assert.match(
        events,
        new RegExp(String.raw`^\S+ +Normal +${reason} +modeladapter/qwen-code-lora `, "m"),
      );
    }
  });

  it("the multi-replica adapter runs on all pods, while it is watched", async () => {
    const { stdout } = await machine.sh(
      page.take("kubectl apply -f samples/adapter/adapter-multi-replica.yaml"),
    );
    assert.match(stdout, /sample-lora-multi-replica created/);
    const watched = "watch kubectl describe modeladapter sample-lora-multi-replica";
    const follow = page.take(`${CONTROLLER_LOG} -f`);
    const loaded = 'pod="[^"]+" ModelAdapter="default/sample-lora-multi-replica"';
    await Promise.all([
      watch(page.take(watched), /Phase: *Running/),
      watch(page.take(`watch ${DESCRIBE}`, adapter), /Phase: *Running/),
      machine.endless(follow, [new RegExp(`Successfully loaded adapter on pod" ${loaded}`)]),
    ]);
    await until(".status.readyReplicas", "3", "modeladapter/sample-lora-multi-replica");
    const yaml = page.take("kubectl get modeladapter sample-lora-multi-replica -o yaml");
    const final = await sh(yaml);
    assert.match(final, /^ {2}schedulerName: least-adapters$/m);
    assert.match(final, /^ {2}phase: Running$/m);
    for (const pod of pods) assert.match(final, new RegExp(`^ {2}- ${pod}$`, "m"));
  });

  it("without --enable-runtime-sidecar the controller loads straight into the engine", async () => {
    await delegated.promise;
    const [lost = ""] = pods;
    // The new pod needs half a minute: enough to change the controller, which then loads on it.
    await sh(page.take("kubectl delete pod <pod-name>", { "pod-name": lost }));
    await editController("direct", "/--enable-runtime-sidecar/d");
    const flag =
      "kubectl get deployment aibrix-controller-manager -n aibrix-system -o yaml | grep enable-runtime-sidecar || true";
    assert.equal(await sh(flag), "");
    await until(".status.readyReplicas", "3", "modeladapter/qwen-code-lora");
    await until(".status.readyReplicas", "3", "modeladapter/sample-lora-multi-replica");
    const now = await podsOf(`model.aibrix.ai/name=${BASE}`);
    assert.ok(!now.includes(lost), now.join());
    const added = now.find((pod) => !pods.includes(pod)) ?? "";
    const words = `Successfully loaded adapter on pod" pod="${added}" ModelAdapter="default/qwen-code-lora"`;
    assert.match(await sh(page.take(CONTROLLER_LOG)), logged(words));
    const sidecar = await sh(page.take(SIDECAR_LOG, { "pod-name": added }));
    assert.doesNotMatch(sidecar, /Forwarding load request/);
    const engine = await sh(page.take("kubectl logs <pod-name>", { "pod-name": added }));
    assert.match(engine, /Loaded new LoRA adapter: name 'qwen-code-lora'/);
    const shown = await sh(page.take(DESCRIBE, adapter));
    assert.deepEqual(pageConditions(shown), readyConditions("default/qwen-code-lora", now));
    assert.equal((await complete(page.completion("qwen-code-lora"))).text, TEXT.sql);
  });

  it("with the page's own arguments it goes through the sidecar again, and with the API key", async () => {
    // The page's list: --leader-elect, the probes, no metrics, and the flag in its short form.
    const metrics = "--metrics-bind-address=";
    await editController(
      "sidecar",
      `s/^\\( *\\)- ${metrics}.*/\\1- ${metrics}0\\n\\1- --enable-runtime-sidecar/`,
    );
    const flag =
      "kubectl get deployment aibrix-controller-manager -n aibrix-system -o yaml | grep enable-runtime-sidecar";
    assert.match(await sh(page.take(flag)), /^ +- --enable-runtime-sidecar$/m);
    const added = ["--api-key", KEY].map((value) => ({
      ...{ op: "add", path: "/spec/template/spec/containers/0/command/-", value },
    }));
    // All new pods at once: their probes wait for half a minute each.
    const surge = { op: "add", path: "/spec/strategy/rollingUpdate/maxSurge", value: "100%" };
    await sh(
      `kubectl patch deployment ${BASE} --type=json -p '${JSON.stringify([...added, surge])}'`,
    );
    await sh(page.take("kubectl apply -f samples/adapter/adapter-with-key.yaml"));
    await sh(`kubectl rollout status deployment/${BASE} --timeout=110s`);
    await until(".status.readyReplicas", "3", "modeladapter/qwen-code-lora-with-key");
    const [pod = ""] = await podsOf(`model.aibrix.ai/name=${BASE}`);
    const sidecar = await sh(page.take(SIDECAR_LOG, { "pod-name": pod }));
    assert.match(sidecar, /Forwarding load request.*adapter="qwen-code-lora-with-key"/);
    assert.ok(!sidecar.includes(KEY));
    assert.ok(!(await sh(page.take(CONTROLLER_LOG))).includes(KEY));
  });

  it("a request needs the key, and so does an adapter", async () => {
    const asked = page.completion("qwen-code-lora-with-key");
    assert.deepEqual(await complete(asked), { status: 200, text: TEXT.sql });
    const { status, text } = await complete(asked.replace(/^.*Authorization.*\n/m, ""));
    assert.equal(status, 401);
    assert.deepEqual(JSON.parse(text), { error: "Unauthorized" });
    await until(".status.phase", "Failed", "modeladapter/qwen-code-lora");
    const conditions = pageConditions(await sh(page.take(DESCRIBE, adapter)));
    assert.match(conditions.at(-1) ?? "", /^Ready=False .*Unauthorized.*additionalConfig\.api-key/);
  });
}

/** One adapter, a pod that refuses connections, and later one that works. */
function retries(): void {
  const namespace = "trouble";
  const adapter = { "adapter-name": "my-lora" };
  const labels = {
    "model.aibrix.ai/name": "refusing",
    "adapter.model.aibrix.ai/enabled": "true",
  };
  const pod = (name: string, containers: object[]) => ({
    ...{ apiVersion: "v1", kind: "Pod", metadata: { name, namespace, labels } },
    spec: { terminationGracePeriodSeconds: 1, containers },
  });
  const engine = { name: "vllm", image: "vllm/vllm-openai:latest" };

  before(async () => {
    await machine.apply([
      { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
      pod("pod-1", [{ ...engine, command: ["sleep", "3600"] }]),
      {
        ...{ apiVersion: "model.aibrix.ai/v1alpha1", kind: "ModelAdapter" },
        metadata: { name: "my-lora", namespace },
        spec: {
          ...{ baseModel: "refusing", replicas: 1 },
          podSelector: { matchLabels: { "model.aibrix.ai/name": "refusing" } },
          artifactURL: "huggingface://ai-blond/Qwen-Qwen2.5-Coder-1.5B-Instruct-lora",
        },
      },
    ]);
  });

  it("are counted in annotations and told in the controller's log", async () => {
    const grep = page.take(`${CONTROLLER_LOG} -f | grep -E "(retry|switching|pod)"`);
    const words = [
      'Selected pods for adapter scheduling" ModelAdapter="trouble/my-lora" selectedPods=["pod-1"]',
      'Retriable error loading adapter" pod="pod-1" error="connection refused"',
    ];
    // In a terminal grep shows each line at once; into a pipe it does so only when told.
    const terminal = 'grep() { command grep --line-buffered "$@"; }';
    await machine.endless(`${terminal}\n${grep}`, words.map(logged), { namespace });
    await until(".status.pods[0].state", "Retrying", "modeladapter/my-lora", namespace);
    const annotations = "kubectl get modeladapter <adapter-name> -o yaml | grep -A 5 annotations";
    const shown = await sh(page.take(annotations, adapter), namespace);
    assert.match(shown, /^ {4}adapter\.model\.aibrix\.ai\/retry-count\.pod-1: "[0-5]"$/m);
    assert.match(
      shown,
      /^ {4}adapter\.model\.aibrix\.ai\/last-retry-time\.pod-1: "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"$/m,
    );
    const { phase, conditions } = statusOf(await sh(page.take(DESCRIBE, adapter), namespace));
    assert.equal(phase, "Loading");
    assert.ok(
      conditions.some((line) => /^Loaded=False .*pod-1: connection refused/.test(line)),
      conditions.join("\n"),
    );
  });

  it("end after five, on another pod", async () => {
    await machine.apply([
      pod("pod-2", [
        { ...engine, env: [{ name: "VLLM_ALLOW_RUNTIME_LORA_UPDATING", value: "True" }] },
      ]),
    ]);
    await running("my-lora", namespace);
    const shown = await sh(page.take(DESCRIBE, adapter), namespace);
    assert.deepEqual(pageConditions(shown), readyConditions("trouble/my-lora", ["pod-2"]));
    assert.deepEqual(statusOf(shown).instances, ["pod-2"]);
    const { events } = statusOf(shown);
    for (const event of [
      "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-1]",
      "Warning MaxRetriesExceeded Max retries exceeded for pod pod-1: connection refused",
      "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-2]",
      "Normal Loaded Successfully loaded adapter on pod pod-2",
    ]) {
      assert.ok(events.includes(event), `${event}\n${events.join("\n")}`);
    }
    const listed = await sh(
      page.take("kubectl get events --field-selector involvedObject.kind=ModelAdapter"),
      namespace,
    );
    assert.match(listed, /^\S+ +Warning +MaxRetriesExceeded +modeladapter\/my-lora /m);
    const log = await sh(page.take(CONTROLLER_LOG));
    assert.match(log, /switching.* pod="pod-1" error="connection refused"/);
    assert.match(
      log,
      logged('Successfully loaded adapter on pod" pod="pod-2" ModelAdapter="trouble/my-lora"'),
    );
    const yaml = await sh("kubectl get modeladapter my-lora -o yaml", namespace);
    assert.doesNotMatch(yaml, /retry-count|scheduled-pods/);
  });
}

/** Private storage: what the sidecar downloads for the engine. */
function delegation(): void {
  const pod = { "pod-name": "vllm-llama3" };
  const apply = async (...files: string[]) => {
    for (const file of files) await sh(`kubectl apply -f samples/adapter/${file}.yaml`);
  };
  before(async () => {
    const hub = join(machine.stateDir, "hub");
    const source = join(hub, "loradock/tiny-sql-lora");
    cpSync(source, join(hub, "my-org/private-lora-adapter"), { recursive: true });
    await apply("s3-credentials", "vllm-llama3", "gcs-credentials", "huggingface-credentials");
    // The page's bucket is nowhere: a store that refuses connections stands for it, and nothing leaves this machine.
    const endpoint = '{"stringData":{"aws_endpoint_url":"http://127.0.0.1:9"}}';
    await sh(`kubectl patch secret s3-credentials -p '${endpoint}'`);
    await apply("sql-lora-s3", "code-lora-gcs", "private-hf-lora");
    await sh("kubectl wait --for=condition=Ready pod/vllm-llama3 --timeout=60s");
  });
  // Another story changes the controller when this one is done with it.
  after(() => delegated.resolve());

  it("the private Hugging Face adapter goes through the sidecar's folder", async () => {
    await running("private-hf-lora");
    const controller = await sh(page.take(CONTROLLER_LOG));
    assert.match(controller, logged('Using runtime path for artifact delegation"'));
    const sidecar = await sh(page.take(SIDECAR_LOG, pod));
    for (const words of [
      /"Downloading artifact from huggingface:\/\/my-org\/private-lora-adapter to \/\S+\/private-hf-lora"/,
      /"Successfully downloaded artifact for private-hf-lora"/,
      /"Forwarding load request to engine with local path"/,
    ]) {
      assert.match(sidecar, words);
    }
    const described = await sh(page.take(DESCRIBE, { "adapter-name": "private-hf-lora" }));
    for (const text of [controller, sidecar, described]) assert.ok(!text.includes("hf_xxx"));
    const asked = page
      .completion("qwen-code-lora")
      .replace('"model": "qwen-code-lora"', '"model": "private-hf-lora"');
    assert.deepEqual(await complete(asked), { status: 200, text: TEXT.sql });
  });

  it("s3:// and gs:// go through the sidecar, and its words reach the status", async () => {
    await until(
      '.status.conditions[?(@.type=="Loaded")].reason',
      "ModelAdapterLoadingError",
      "modeladapter/sql-lora-s3",
    );
    const waiting = await sh(page.take("kubectl describe modeladapter sql-lora-s3"));
    assert.match(
      statusOf(waiting).conditions.join("\n"),
      /^Loaded=False ModelAdapterLoadingError: pod vllm-llama3: .*connection refused.*retry/m,
    );
    await until(".status.phase", "Failed", "modeladapter/code-lora-gcs");
    const failed = await sh(page.take(DESCRIBE, { "adapter-name": "code-lora-gcs" }));
    const { conditions, events } = statusOf(failed);
    assert.match(
      conditions.at(-1) ?? "",
      /^Ready=False ModelAdapterLoadingError: .*Invalid credentials/,
    );
    assert.ok(events.some((event) => event.startsWith("Warning ModelAdapterLoadingError")));
    const sidecar = await sh(page.take(SIDECAR_LOG, pod));
    assert.match(sidecar, /adapter="sql-lora-s3" error=".*connection refused/);
    assert.match(sidecar, /adapter="code-lora-gcs" error="Invalid credentials/);
    assert.ok(!sidecar.includes("wJalrXUtnFEMI"), "no secret is told");
  });

  it("the commands for troubleshooting show flag, pods, keys, engine and volumes", async () => {
    const flag =
      "kubectl get deployment aibrix-controller-manager -n aibrix-system -o yaml | grep enable-runtime-sidecar";
    assert.match(await sh(page.take(flag)), /^ +- --enable-runtime-sidecar=true$/m);
    // The page takes this label for granted.
    await sh("kubectl label pod vllm-llama3 app=vllm");
    assert.match(
      await sh(page.take("kubectl get pods -l app=vllm")),
      /^vllm-llama3 +2\/2 +Running /m,
    );
    const secret = await sh(page.take("kubectl get secret s3-credentials -o yaml"));
    for (const key of ["aws_access_key_id", "aws_secret_access_key", "aws_region"]) {
      assert.match(secret, new RegExp(`^ {2}${key}: [\\w+/]+=*$`, "m"));
    }
    const health = "kubectl exec <pod-name> -c aibrix-runtime -- curl http://localhost:8000/health";
    const { stdout, stderr } = await machine.sh(page.take(health, pod));
    assert.equal(stdout, "");
    assert.match(stderr, /100|% Total/);
    const described = await sh(page.take("kubectl describe pod <pod-name>", pod));
    assert.equal(
      described.match(/^ {6}\/tmp\/aibrix\/adapters from adapter-storage \(rw\)$/gm)?.length,
      2,
    );
    assert.match(described, /^ {6}\/var\/run\/secrets\/aibrix from credentials \(ro\)$/m);
  });
}

/** One pod with sidecars in every mode beside a vLLM and what an SGLang would say. */
function runtimeMetrics(): void {
  const transform = "export METRICS_ENABLE_TRANSFORMATION=1";
  const off = "export METRICS_ENABLE_TRANSFORMATION=0";
  const raw = "export METRICS_RAW_PASSTHROUGH_MODE=1";
  const standard = "export METRICS_RAW_PASSTHROUGH_MODE=0";
  const ports = { default: 8081, raw: 8082, off: 8083, sglang: 8084 };
  const sglang = [
    ...["# TYPE sglang:num_queue_reqs gauge", 'sglang:num_queue_reqs{model_name="m"} 3.0'],
    ...["# TYPE sglang:prompt_tokens_total counter"],
    ...['sglang:prompt_tokens_total{model_name="m"} 7.0', ""],
  ].join("\n");

  const sidecar = (name: keyof typeof ports, exports: string[], engine = "vllm", port = 8000) => ({
    ...{ name, image: "aibrix/runtime:v0.3.0" },
    command: [
      ...["sh", "-c"],
      [...exports, `exec aibrix_runtime --port ${ports[name]}`].join("\n"),
    ],
    env: [
      { name: "INFERENCE_ENGINE", value: engine },
      { name: "INFERENCE_ENGINE_ENDPOINT", value: `http://localhost:${port}` },
    ],
    readinessProbe: { httpGet: { path: "/ready", port: ports[name] }, periodSeconds: 1 },
  });

  const scrape = (name: keyof typeof ports) =>
    sh(`kubectl exec metrics -c ${name} -- curl -s http://localhost:${ports[name]}/metrics`);

  before(async () => {
    const serve = `require("node:http").createServer((_, out) => out.end(${JSON.stringify(sglang)})).listen(8001, "0.0.0.0")`;
    const vllm = "vllm/vllm-openai:latest";
    const pod = (name: string, containers: object[]) => ({
      ...{ apiVersion: "v1", kind: "Pod", metadata: { name } },
      spec: { terminationGracePeriodSeconds: 1, containers },
    });
    await machine.apply([
      pod("metrics", [
        { name: "vllm", image: vllm },
        { name: "sglang-engine", image: vllm, command: [process.execPath, "-e", serve] },
        sidecar("default", [page.take(transform), page.take(standard)]),
        sidecar("raw", [page.take(raw)]),
        sidecar("off", [page.take(off)]),
        sidecar("sglang", [], "sglang", 8001),
      ]),
      pod("keyed", [
        {
          ...{ name: "vllm", image: vllm },
          command: ["sh", "-c", page.take(`vllm serve --api-key ${KEY}`)],
          readinessProbe: { httpGet: { path: "/health", port: 8000 }, periodSeconds: 1 },
        },
      ]),
    ]);
    await sh("kubectl wait --for=condition=Ready pod/metrics pod/keyed --timeout=90s");
  });

  it("by default the page's four names are translated", async () => {
    const vllm = await scrape("default");
    assert.match(vllm, /^aibrix:queue_size\{.*\} 0\.0$/m);
    assert.match(vllm, /^aibrix:prompt_tokens_total\{.*\} \d+\.0$/m);
    const other = await scrape("sglang");
    assert.match(other, /^aibrix:queue_size\{.*\} 3\.0$/m);
    assert.match(other, /^aibrix:prompt_tokens_total\{.*\} 7\.0$/m);
  });

  it("raw passthrough and no transformation leave the engine's names alone", async () => {
    for (const name of ["raw", "off"] as const) {
      const text = await scrape(name);
      assert.match(text, /^vllm:num_requests_waiting\{.*\} 0\.0$/m);
      assert.match(text, /^vllm:prompt_tokens_total\{/m);
      assert.doesNotMatch(text, /aibrix:/);
    }
  });

  it("an engine with --api-key answers Unauthorized without it", async () => {
    const ask = "kubectl exec keyed -- curl -s http://localhost:8000/v1/models";
    assert.deepEqual(JSON.parse(await sh(ask)), { error: "Unauthorized" });
    const listed = JSON.parse(await sh(`${ask} -H 'Authorization: Bearer ${KEY}'`));
    assert.equal(listed.object, "list");
  });
}

if (canUse("kubectl")) {
  describe("the page of LoRA adapters on one machine", { concurrency: 1 }, () => {
    before(async () => {
      const place = await newPlace();
      const flags = placeFlags(place.stateDir, place.ports);
      machine = await LocalMachine.start(`exec node bin/loradock up --no-sample ${flags}`, place);
      // Its probes wait for half a minute: everything else goes on meanwhile.
      await sh("kubectl apply -f samples/adapter/base.yaml");
    });
    after(() => machine?.stop());

    describe("at the same time", { concurrency: true }, () => {
      describe("base model and adapters", { concurrency: 1 }, baseAndAdapters);
      describe("retries", { concurrency: 1 }, retries);
      describe("private artifact storage", { concurrency: 1 }, delegation);
      describe("metrics of the runtime", { concurrency: 1 }, runtimeMetrics);
    });

    it("leaves no command of the page out", () => {
      assert.deepEqual(page.left(), []);
    });
  });
}
