/** The troubles of docs/controller.md, each provoked: its commands print what the page shows, and its cure helps. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { MODEL_ADAPTERS, SECRETS, SERVICES } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import { itWithKubectl } from "../support/programs.ts";
import { assertShown, shownIn } from "../support/shown-page.ts";
import type { TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { type conditionsOf, type SpecChange, World } from "./world.ts";

const PAGE = shownIn(join(import.meta.dirname, "../.."), "docs/controller.md");
const NAME = "my-lora";

/** Provokes a trouble. What it returns is done and looked at after the page's commands. */
type Trouble = (world: World) => Promise<(() => Promise<unknown>) | undefined>;

/** An engine that refuses for good, until `mend`. */
const refusing =
  (
    begin: (pod: TestPod) => void,
    mend: (pod: TestPod, world: World) => Promise<unknown>,
    spec?: SpecChange,
  ): Trouble =>
  async (world) => {
    const pod = await world.pod("pod-1");
    begin(pod);
    await world.declare(NAME, spec);
    await world.phase(NAME, "Failed");
    return async () => {
      await mend(pod, world);
      await world.serving(NAME, pod);
    };
  };

export const TROUBLES: Readonly<Record<string, Trouble>> = {
  "All is well": async (world) => {
    const pod = await world.pod("pod-1");
    await world.declare(NAME);
    await world.serving(NAME, pod);
    return undefined;
  },

  "No pod matches": async (world) => {
    await world.declare(NAME);
    await world.phase(NAME, "Pending");
    return async () => world.serving(NAME, await world.pod("pod-1"));
  },

  "A pod lacks the label": async (world) => {
    const pod = await world.pod("pod-1", { labels: { "model.aibrix.ai/name": "base" } });
    await world.declare(NAME);
    await world.phase(NAME, "Pending");
    return () => world.serving(NAME, pod);
  },

  "A pod is not Ready": async (world) => {
    const pod = await world.pod("pod-1", { readyForMs: undefined });
    await world.declare(NAME);
    await world.phase(NAME, "Pending");
    return async () => {
      await pod.ready(0);
      const waits = /PodNotReady: pod-1: The pod is Ready for [0-4] of 5 s/;
      await world.until(NAME, "waits", ({ status }) => waits.test(status?.summary ?? ""));
      await world.serving(NAME, pod);
    };
  },

  "All pods are gone": async (world) => {
    const pod = await world.pod("pod-1");
    await world.declare(NAME);
    await world.serving(NAME, pod);
    await pod.delete();
    await world.phase(NAME, "Pending");
    return async () => world.serving(NAME, await world.pod("pod-2"));
  },

  "The engine takes no adapters at run time": refusing(
    ({ engine }) => {
      engine.isFixed = true;
    },
    async (pod) => {
      pod.engine.isFixed = false;
      await pod.restartContainer();
    },
  ),

  "The engine asks for a key": refusing(
    ({ engine }) => {
      engine.apiKey = "sk-secret";
    },
    async () => {},
  ),

  "A Secret is missing": async (world) => {
    const pod = await world.pod("pod-1");
    pod.engine.apiKey = "sk-secret";
    await world.declare(NAME, { apiKeySecretRef: { name: "keys", key: "vllm" } });
    await world.phase(NAME, "Failed");
    return () => world.serving(NAME, pod);
  },

  "A Secret lacks the key": async (world) => {
    const pod = await world.pod("pod-1");
    pod.engine.apiKey = "sk-secret";
    const secret = { metadata: world.named("keys"), data: { other: "c2stc2VjcmV0" } };
    await world.stage.client.create(SECRETS, secret);
    await world.declare(NAME, { apiKeySecretRef: { name: "keys", key: "vllm" } });
    await world.phase(NAME, "Failed");
    return () => world.serving(NAME, pod);
  },

  "The rank is too high": refusing(
    ({ engine }) => {
      engine.refusal = "main-11-load-bad-rank-64";
    },
    async (pod) => {
      pod.engine.refusal = undefined;
      await pod.restartContainer();
    },
  ),

  "The artifact is not there": refusing(
    ({ engine }) => {
      engine.sees = () => false;
    },
    async ({ engine }, world) => {
      engine.sees = () => true;
      await world.change(NAME, { artifactURL: "/adapters/my-lora-v2" });
    },
  ),

  "The URL is not valid": refusing(
    () => {},
    async () => {},
    { artifactURL: "huggingface://my-lora" },
  ),

  "The source needs the sidecar": refusing(
    () => {},
    async () => {},
    { artifactURL: "s3://bucket/my-lora" },
  ),

  "The engine does not answer": async (world) => {
    const pod = await world.pod("pod-1");
    await pod.refuse();
    await world.declare(NAME);
    await world.until(NAME, "failed", ({ status }) => status?.pods?.[0]?.state === "Retrying");
    return async () => {
      await pod.listenAgain();
      const { metadata } = await world.serving(NAME, pod);
      assert.deepEqual(metadata.annotations ?? {}, {});
    };
  },

  "The Service's name is taken": async (world) => {
    const pod = await world.pod("pod-1");
    const spec = { ports: [{ port: 80 }], selector: { app: "shop" } };
    await world.stage.client.create(SERVICES, { metadata: world.named(NAME), spec });
    await world.declare(NAME);
    await world.phase(NAME, "Bound");
    return async () => {
      await world.kubectl("delete", "svc", NAME);
      await world.serving(NAME, pod);
    };
  },

  "Fewer pods serve than should": async (world) => {
    const [one, two] = await world.pods("pod-1", "pod-2");
    two.engine.refusal = "main-11-load-bad-rank-64";
    await world.declare(NAME);
    await world.serving(NAME, one);
    await world.until(NAME, "told", ({ status }) => status?.pods?.[1]?.state === "Failed");
    return async () => {
      two.engine.refusal = undefined;
      await two.restartContainer();
      await world.serving(NAME, one, two);
    };
  },

  "An update does not arrive": async (world) => {
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare(NAME);
    await world.serving(NAME, ...pods);
    for (const { engine } of pods) engine.refusal = "main-11-load-bad-rank-64";
    await world.change(NAME, { artifactURL: "/adapters/my-lora-v2" });
    const isTold = ({ status }: Parameters<typeof conditionsOf>[0]) =>
      status?.phase === "Running" && status.readyReplicas === 2 && status.summary?.includes("rank");
    await world.until(NAME, "told", isTold);
    return async () => {
      for (const { engine } of pods) engine.refusal = undefined;
      await world.serving(NAME, ...pods);
      assert.ok(pods.every(({ engine }) => engine.held.get(NAME) === "/adapters/my-lora"));
    };
  },

  "A deletion takes seconds": async (world) => {
    const pod = await world.pod("pod-1");
    await world.declare(NAME);
    await world.serving(NAME, pod);
    pod.engine.fault = { status: 500, body: "Internal Server Error" };
    await world.stage.client.delete(MODEL_ADAPTERS, world.named(NAME));
    const isTold = (text = "") => /being deleted; pod-1/.test(text);
    await world.until(NAME, "told", ({ status }) => isTold(status?.summary));
    return async () => {
      await world.gone(NAME);
      pod.engine.fault = undefined;
      await eventually("unloaded", () => !pod.engine.held.has(NAME));
    };
  },
};

export function troubleshootingTests(stage: Stage): void {
  for (const [heading, provoke] of Object.entries(TROUBLES)) {
    itWithKubectl(`the page's trouble: ${heading}`, async (t) => {
      const world = await World.make(stage, t);
      const after = await provoke(world);
      const shown = PAGE.get(heading) ?? [];
      assert.ok(shown.length > 0, "the page shows no commands");
      for (const one of shown) await assertShown(one, (command) => typed(world, command));
      await after?.();
    });
  }
}

/** In a shell whose kubectl knows server and namespace; there is no kubelet here to ask for the controller's log. */
function typed({ namespace, stage }: World, command: string): Promise<string> {
  const script = `
    kubectl() {
      if [[ "$*" == "logs -n aibrix-system deployment/aibrix-controller-manager" ]]
      then printf %s "$LOG"
      else command kubectl --kubeconfig="$CONFIG" --namespace="$NAMESPACE" "$@"
      fi
    }
    ${command}`;
  const log = stage.controllers.at(-1)?.log() ?? "";
  const mine = log.split("\n").filter((line) => line.includes(`"${namespace}/`));
  const env = {
    ...process.env,
    LOG: mine.map((line) => `${line}\n`).join(""),
    CONFIG: stage.api.kubeconfig,
    NAMESPACE: namespace,
  };
  return new Promise((resolve) => {
    execFile("bash", ["-c", `exec 2>&1\n${script}`], { env }, (_, stdout) =>
      resolve(stdout.replaceAll(namespace, "default")),
    );
  });
}
