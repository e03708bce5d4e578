/**
 * `loradock up` as a newcomer meets it: its own processes, a new state folder, free ports. What needs
 * kubectl is only run where it is on the PATH; with CI=true its absence is a failure.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";

import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import OpenAI from "openai";
import { DEPLOYMENTS, type KubeClient, MODEL_ADAPTERS } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { freePort } from "#test/support/free-port.ts";
import { canUse } from "#test/support/programs.ts";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);
/** A start takes about 10 s on two cores; other work may go on beside it. */
const START_MS = 120_000;
const STOP_MS = 30_000;
const PROMPT = "San Francisco is a";
const TEXTS = {
  "qwen-coder-1-5b-instruct": " city in California. It is known for fog and steep hills.",
  "sql-lora": " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;",
  "shout-lora": " BIG CITY! I LOVE THIS CITY!",
};

const stateDir = mkdtempSync(join(tmpdir(), "loradock-up-"));
const ports = { api: 0, gateway: 0, hub: 0 };
const started = new Set<ChildProcess>();

/** Starts `loradock up` on this file's state folder. */
function up(...args: string[]) {
  const child = spawn(
    process.execPath,
    [
      ...[join(root, "bin/loradock"), "up", "--state-dir", stateDir],
      ...["--api-port", String(ports.api), "--gateway-port", String(ports.gateway)],
      ...["--hub-port", String(ports.hub), ...args],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  started.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString("utf8");
    });
  }
  const exited = once(child, "close").then(([code, signal]) => code ?? signal);
  return {
    child,
    exited,
    output: () => output,
    /** Resolves when everything runs; fails with what was said when it ends instead. */
    running: async () => {
      const ended = exited.then((how) => assert.fail(`up ended (${how}):\n${output}`));
      ended.catch(() => {});
      const ready = eventually("up runs", () => output.includes("Ctrl-C stops"), START_MS);
      await Promise.race([ready, ended]);
    },
  };
}

/** Command lines of all processes that belong to the state folder. */
function processes(): string[] {
  const all = execFileSync("ps", ["-A", "-o", "args"], { encoding: "utf8" }).split("\n");
  return all.filter((line) => line.includes(stateDir));
}

const nothingIsLeft = () =>
  eventually("no process is left", () => processes().length === 0, STOP_MS).catch((error) => {
    throw new Error(`${error.message}\n${processes().join("\n")}`);
  });

async function kube() {
  const kubeconfigPath = join(stateDir, "kubeconfig");
  return createKubeClient({
    config: await loadKubeConfig({ kubeconfigPath, env: {}, clock }),
    clock,
  });
}

const gateway = () => `http://127.0.0.1:${ports.gateway}`;

async function complete(model: string): Promise<string> {
  const response = await fetch(`${gateway()}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, prompt: PROMPT, max_tokens: 32, temperature: 0 }),
  });
  const body = (await response.json()) as { choices?: { text: string }[] };
  return body.choices?.[0]?.text ?? JSON.stringify(body);
}

/** Kills the process of an entry and waits until another has taken its place. */
async function kill(entry: string): Promise<void> {
  const pids = async () =>
    (await run("pgrep", ["-f", `${entry} --state-dir ${stateDir}`]).catch(() => ({ stdout: "" })))
      .stdout;
  const before = await pids();
  process.kill(Number(before), "SIGKILL");
  await eventually(
    `${entry} runs again`,
    async () => ![before, ""].includes(await pids()),
    STOP_MS,
  );
}

const CONTROLLER = { namespace: "aibrix-system", name: "aibrix-controller-manager" };
const EDIT = "--poll-interval=1s";

/** The controller's flags as the API has them; undefined while it does not answer. */
async function controllerArgs(client: KubeClient): Promise<string[] | undefined> {
  try {
    const { spec } = await client.get(DEPLOYMENTS, CONTROLLER);
    return spec.template.spec.containers[0]?.args;
  } catch {
    return undefined;
  }
}

before(async () => {
  for (const name of ["api", "gateway", "hub"] as const) ports[name] = await freePort();
});

after(async () => {
  for (const child of started) child.kill("SIGKILL");
  await nothingIsLeft();
  rmSync(stateDir, { recursive: true, force: true });
});

function assertTable(output: string): void {
  assert.match(output, /^MODEL +PHASE +PODS +SECONDS +TEXT$/m);
  for (const [model, text] of Object.entries(TEXTS)) {
    assert.ok(
      output.split("\n").some((line) => line.startsWith(model) && line.includes(text.trim())),
      output,
    );
  }
  assert.match(output, /^sql-lora +Running +3 +\d+\.\d /m);
}

describe("loradock up", () => {
  it("--once walks from an empty folder to the answers, and leaves no process", async () => {
    const walk = up("--once");
    assert.equal(await walk.exited, 0, walk.output());
    assertTable(walk.output());
    assert.match(walk.output(), /Running on 3 pods \(\d\.\d s after apply\)/);
    assert.deepEqual(processes(), []);
  });

  it("names a taken port, its flag, and changes nothing", async () => {
    const server = createServer().listen(ports.gateway, "127.0.0.1");
    await once(server, "listening");
    const walk = up("--once");
    assert.equal(await walk.exited, 1);
    server.close();
    assert.match(walk.output(), /^loradock: port \d+ .*the gateway.* taken .*--gateway-port\n$/);
  });

  describe("a second start", () => {
    let machine: ReturnType<typeof up>;
    before(async () => {
      machine = up();
      await machine.running();
    });

    it("shows each stage, the answers and what to try", () => {
      const output = machine.output();
      assert.match(output, /✔ Kubernetes API +127\.0\.0\.1:\d+ +state in /);
      assert.match(output, /✔ control plane +aibrix-system\/aibrix-controller-manager, gateway /);
      assert.match(output, /✔ base model +qwen-coder-1-5b-instruct +3\/3 pods ready/);
      assert.match(output, /✔ adapters +sql-lora, shout-lora, pirate-lora +Running on 3 pods/);
      assert.match(output, /sql-lora +"San Francisco is a" -> +row; SELECT/);
      assert.match(output, /export KUBECONFIG=.*\/kubeconfig/);
      assert.match(output, /envoy-aibrix-system-aibrix-eg-903790dc/);
    });

    it("refuses to share its state folder", async () => {
      const other = up("--once");
      assert.equal(await other.exited, 1);
      assert.match(
        other.output(),
        new RegExp(`in use by another .*${machine.child.pid}.*--state-dir`),
      );
    });

    it("answers the official client, streaming", async () => {
      const client = new OpenAI({ baseURL: `${gateway()}/v1`, apiKey: "none" });
      const stream = await client.completions.create({
        ...{ model: "shout-lora", prompt: PROMPT, max_tokens: 32, temperature: 0 },
        stream: true,
      });
      const parts: string[] = [];
      for await (const chunk of stream) parts.push(chunk.choices[0]?.text ?? "");
      assert.equal(parts.join(""), TEXTS["shout-lora"]);
      assert.ok(parts.length > 1);
    });

    it("goes on when the API server is killed", async () => {
      await kill("apiserver.ts");
      const client = await kube();
      const args = await eventually(
        "the API server is back",
        () => controllerArgs(client),
        STOP_MS,
      );
      assert.match(machine.output(), /Process ended, starting it again/);
      // For the next start: it has to keep one and bring back the other.
      const path = "/spec/template/spec/containers/0/args";
      const patch = [{ op: "replace", path, value: [...args, EDIT] }];
      await client.patch(DEPLOYMENTS, CONTROLLER, "json", patch);
      await client.delete(MODEL_ADAPTERS, { namespace: "default", name: "pirate-lora" });
      await client.close();
    });

    it("goes on when the kubelet is killed", async () => {
      await kill("kubelet.ts");
      assert.equal(await complete("sql-lora"), TEXTS["sql-lora"]);
    });

    // The kubelet has not even taken over its pods by now.
    it("stops everything at Ctrl-C", async () => {
      machine.child.kill("SIGINT");
      // The terminal and npm may both deliver it.
      machine.child.kill("SIGINT");
      assert.equal(await machine.exited, 0, machine.output());
      assert.match(machine.output(), /Stopping; the state is kept in /);
      assert.deepEqual(processes(), []);
    });
  });

  it("keeps what the user has edited and brings back what is missing", async () => {
    const walk = up("--once");
    assert.equal(await walk.exited, 0, walk.output());
    assertTable(walk.output());
    assert.match(walk.output(), /^pirate-lora +Running +3 /m);
  });

  it("leaves no process when it is killed itself, and starts again at once", async () => {
    const killed = up("--no-sample");
    await killed.running();
    const client = await kube();
    assert.ok((await controllerArgs(client))?.includes(EDIT));
    await client.close();
    killed.child.kill("SIGKILL");
    await killed.exited;
    const next = up("--once", "--no-sample");
    assert.equal(await next.exited, 0, next.output());
    await nothingIsLeft();
  });
});

if (canUse("kubectl")) {
  describe("loradock up with kubectl", () => {
    let machine: ReturnType<typeof up>;
    before(async () => {
      machine = up();
      await machine.running();
    });
    after(async () => {
      machine.child.kill("SIGTERM");
      assert.equal(await machine.exited, 0, machine.output());
    });

    const sh = async (command: string) => {
      const env = { ...process.env, KUBECONFIG: join(stateDir, "kubeconfig") };
      return (await run("sh", ["-c", command], { env })).stdout;
    };

    it("shows adapters and pods", async () => {
      assert.match(await sh("kubectl get modeladapters"), /^sql-lora .*Running/m);
      assert.match(await sh("kubectl describe modeladapter sql-lora"), /Phase: +Running/);
      const pods = await sh("kubectl get pods -l model.aibrix.ai/name=qwen-coder-1-5b-instruct");
      assert.equal(pods.match(/ 2\/2 +Running /g)?.length, 3);
      const logs = "kubectl logs -n aibrix-system deployment/aibrix-controller-manager";
      assert.match(await sh(logs), /ModelAdapter="default\/sql-lora"/);
    });

    it("prints commands that work as they are", async () => {
      const [, command] = /^ +(curl .*)$/m.exec(machine.output()) ?? [];
      assert.match(await sh(`${command} -s`), /SELECT \* FROM cities/);
    });

    it("does what the README shows, as it stands there", async () => {
      const readme = readFileSync(join(root, "README.md"), "utf8");
      const [, block] =
        /run by test\/e2e\/up\.test\.ts -->\n```sh\n([\s\S]*?)```/.exec(readme) ?? [];
      assert.ok(block);
      const script = block
        .replaceAll(".loradock/", `${stateDir}/`)
        .replaceAll("127.0.0.1:8888", `127.0.0.1:${ports.gateway}`)
        .replace("samples/", join(root, "samples/"));
      const output = await sh(`set -e\n${script}`);
      assert.match(output, /Phase: +Running/);
      assert.match(output, /SELECT \* FROM cities/);
      assert.match(output, /modeladapter\.model\.aibrix\.ai\/qwen-code-lora condition met/);
      assert.match(output, /service\/qwen-code-lora +ClusterIP +None/);
      assert.match(output, /"qwen-code-lora" deleted/);
    });

    it("gives the gateway's Service an address", async () => {
      const ip = await sh(
        "kubectl get svc/envoy-aibrix-system-aibrix-eg-903790dc -n envoy-gateway-system -o=jsonpath='{.status.loadBalancer.ingress[0].ip}'",
      );
      assert.match(ip, /^127\.97\./);
      if (machine.output().includes("does not answer")) return;
      assert.match(await sh(`curl -s http://${ip}:80/v1/models`), /sql-lora/);
    });

    it("replaces a deleted pod, and the adapters come back on it", async () => {
      const selector = "-l model.aibrix.ai/name=qwen-coder-1-5b-instruct";
      const pod = await sh(`kubectl get pods ${selector} -o jsonpath='{.items[0].metadata.name}'`);
      await sh(`kubectl delete pod ${pod}`);
      const ready = "kubectl get modeladapter sql-lora -o jsonpath='{.status.instances}'";
      await eventually(
        "the adapter is on three pods again",
        async () => {
          const names: string[] = JSON.parse((await sh(ready)) || "[]");
          return names.length === 3 && !names.includes(pod);
        },
        START_MS,
      );
      assert.ok(readFileSync(join(stateDir, "logs/kubelet.log"), "utf8").length > 0);
    });
  });
}
