/** What a person sees who works with ModelAdapters through kubectl, word for word. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stripVTControlCharacters } from "node:util";
import { itWithKubectl } from "#test/support/programs.ts";
import { deployment, GROUP, pod } from "./objects.ts";
import { soon } from "./soon.ts";
import type { Printed, Target } from "./target.ts";

const LABELS = { "model.aibrix.ai/name": "qwen-code-lora", "model.aibrix.ai/port": "8000" };
const URL = "huggingface://ai-blond/Qwen-Qwen2.5-Coder-1.5B-Instruct-lora";
const NAME = "modeladapter.model.aibrix.ai/qwen-code-lora";

const manifest = (name: string, spec: object = {}) => ({
  apiVersion: "model.aibrix.ai/v1alpha1",
  kind: "ModelAdapter",
  metadata: { name, labels: { ...LABELS, "model.aibrix.ai/name": name } },
  spec: {
    baseModel: "base",
    podSelector: { matchLabels: { "model.aibrix.ai/name": "base", grp: "good" } },
    artifactURL: URL,
    ...spec,
  },
});

const status = (phase: string, ready: "True" | "False") => ({
  status: {
    phase,
    candidates: 1,
    desiredReplicas: 1,
    ...(ready === "True" ? { readyReplicas: 1, instances: ["llama-0"] } : {}),
    conditions: [
      {
        type: "Initialized",
        status: "Unknown",
        lastTransitionTime: "2026-01-01T00:00:00Z",
        reason: "ModelAdapterPending",
        message: "Starting reconciliation",
      },
      {
        type: "Ready",
        status: ready,
        lastTransitionTime: "2026-01-01T00:00:00Z",
        reason: ready === "True" ? "ModelAdapterAvailable" : "ModelAdapterLoadingError",
        message: ready === "True" ? "is ready" : "Loading failed",
      },
    ],
    summary: ready === "True" ? "ModelAdapterAvailable" : "ModelAdapterLoadingError",
  },
});

/** What differs from run to run, replaced; trailing blanks are kept. */
function plain(text: string, namespace: string, folder: string): string {
  return text
    .replaceAll(namespace, "NS")
    .replaceAll(folder, "DIR")
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "UID")
    .replaceAll(/20(?!26-01-01)\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, "TIME")
    .replaceAll(/(resourceVersion"?: )"\d+"/gi, '$1"N"')
    .replaceAll(/(Resource Version: +)\d+/g, "$1N")
    .replaceAll(/\b\d+m?\d*s$/gm, "AGE")
    .replaceAll(/\b\d+s +/g, (age) => "AGE".padEnd(age.length));
}

export function kubectlTests(target: Target): void {
  itWithKubectl("a day with kubectl", async () => {
    const namespace = await target.namespace();
    const folder = mkdtempSync(join(tmpdir(), "loradock-walk-"));
    try {
      await walk(target, namespace, folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  itWithKubectl("kubectl rollout status waits for a deployment", async () => {
    const namespace = await target.namespace();
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments`;
    await target.create(path, deployment("web", { replicas: 1 }));
    const waiting = target.kubectl(["rollout", "status", "deployment/web", "--timeout=20s"], {
      namespace,
    });
    await target.patch(`${path}/web/status`, "merge", {
      status: {
        observedGeneration: 1,
        replicas: 1,
        updatedReplicas: 1,
        readyReplicas: 1,
        availableReplicas: 1,
      },
    });
    const said = await waiting;
    assert.equal(said.code, 0, said.stderr);
    assert.ok(said.stdout.endsWith('deployment "web" successfully rolled out\n'), said.stdout);
  });

  itWithKubectl("kubectl scale, set image, rollout restart of a deployment", async () => {
    const namespace = await target.namespace();
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments`;
    await target.create(path, deployment("web"));
    const say = async (...args: string[]) => (await target.kubectl(args, { namespace })).stdout;
    assert.equal(
      await say("scale", "deployment/web", "--replicas=3"),
      "deployment.apps/web scaled\n",
    );
    assert.equal(
      await say("set", "image", "deployment/web", "main=example/image:2"),
      "deployment.apps/web image updated\n",
    );
    assert.equal(
      await say("rollout", "restart", "deployment/web"),
      "deployment.apps/web restarted\n",
    );
    const found = await target.get(`${path}/web`);
    assert.equal(found.at("spec.replicas"), 3);
    assert.equal(found.at("spec.template.spec.containers.0.image"), "example/image:2");
    assert.equal(found.at("metadata.generation"), 4);
  });

  itWithKubectl("kubectl create of everything that has a command", async () => {
    const namespace = await target.namespace();
    const commands: readonly (readonly [string, string])[] = [
      ["configmap one --from-literal=a=b", "configmap/one created"],
      ["secret generic one --from-literal=a=b", "secret/one created"],
      ["serviceaccount one", "serviceaccount/one created"],
      ["deployment one --image=example/image:1", "deployment.apps/one created"],
      ["service clusterip one --tcp=80:8080", "service/one created"],
      ["role one --verb=get --resource=pods", "role.rbac.authorization.k8s.io/one created"],
      [
        "rolebinding one --role=one --serviceaccount=default:one",
        "rolebinding.rbac.authorization.k8s.io/one created",
      ],
    ];
    // kubectl sends built-in kinds as protobuf, unless it has them from a file.
    for (const [command, said] of commands) {
      const dry = await target.kubectl(
        ["create", ...command.split(" "), "--dry-run=client", "-o", "json"],
        { namespace },
      );
      const made = await target.kubectl(["create", "-f", "-"], { namespace, input: dry.stdout });
      assert.deepEqual([made.stdout, made.stderr], [`${said}\n`, ""], command);
    }
  });

  itWithKubectl("kubectl get of several kinds at once", async () => {
    const namespace = await target.namespace();
    await target.create(`/api/v1/namespaces/${namespace}/pods`, pod("one"));
    await target.create(`/apis/apps/v1/namespaces/${namespace}/deployments`, deployment("web"));
    const said = await target.kubectl(["get", "pods,deployments"], { namespace });
    assert.equal(
      plain(said.stdout, namespace, "(no folder)"),
      `NAME      READY   STATUS    RESTARTS   AGE
pod/one   0/1     Pending   0          AGE

NAME                  READY   UP-TO-DATE   AVAILABLE   AGE
deployment.apps/web   0/1     0            0           AGE
`,
    );
  });

  itWithKubectl("kubectl get --watch prints what happens as it happens", async () => {
    const namespace = await target.namespace();
    const path = `${GROUP}/namespaces/${namespace}/modeladapters`;
    const named = manifest("one", { artifactURL: "s3://a/b" });
    await target.create(path, named);
    const kubectl = spawn("kubectl", [
      `--kubeconfig=${target.kubeconfig}`,
      `--namespace=${namespace}`,
      ..."get modeladapters --watch --output-watch-events".split(" "),
    ]);
    try {
      const lines = createInterface(kubectl.stdout)[Symbol.asyncIterator]();
      const line = async () => {
        const { value } = await lines.next();
        return String(value).replace(/ +\d+s$/, " AGE");
      };
      const heading = await line();
      assert.match(
        heading,
        /^EVENT {6}NAME {3}PHASE {3}DESIRED {3}READY {3}CANDIDATES {3}MODEL PATH {3}AGE$/,
      );
      assert.match(await line(), /^ADDED {6}one {39,}s3:\/\/a\/b AGE$/);
      await setPhase(path, "Running");
      assert.match(await line(), /^MODIFIED {3}one +Running +s3:\/\/a\/b AGE$/);
      await target.delete(`${path}/one`);
      assert.match(await line(), /^DELETED {4}one +Running +s3:\/\/a\/b AGE$/);
    } finally {
      kubectl.kill();
    }
  });

  const setPhase = async (path: string, phase: string) =>
    (await target.patch(`${path}/one/status`, "merge", { status: { phase } })).expect(200);

  itWithKubectl("kubectl auth can-i, and what", async () => {
    assert.equal((await target.kubectl(["auth", "can-i", "create", "pods"])).stdout, "yes\n");
    const list = await target.kubectl(["auth", "can-i", "--list"]);
    assert.match(list.stdout, /^\*\.\* +\[\] +\[\] +\[\*\]$/m, list.stderr);
    assert.match(list.stdout, /^ +\[\*\] +\[\] +\[\*\]$/m);
  });

  itWithKubectl("kubectl version and cluster-info", async () => {
    const version = await target.kubectl(["version"]);
    assert.match(version.stdout, /^Server Version: v1\.34\.\d+/m);
    const info = await target.kubectl(["cluster-info"]);
    assert.equal(
      stripVTControlCharacters(info.stdout),
      `Kubernetes control plane is running at ${target.server}\n\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.\n`,
    );
  });

  itWithKubectl("kubectl get crd", async () => {
    const name = "modeladapters.model.aibrix.ai";
    const said = await target.kubectl(["get", "crd", name]);
    assert.match(
      said.stdout,
      /^NAME {28}CREATED AT\nmodeladapters\.model\.aibrix\.ai {3}20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n$/,
    );
  });

  itWithKubectl("kubectl describe of a pod, with its events", async () => {
    const namespace = await target.namespace();
    const core = `/api/v1/namespaces/${namespace}`;
    const made = await target.create(`${core}/pods`, pod("one"));
    await target.create(`${core}/events`, {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: "one" },
      involvedObject: { kind: "Pod", namespace, name: "one", uid: made.uid },
      reason: "Tested",
      message: "was tested",
      type: "Normal",
      source: { component: "test" },
      firstTimestamp: made.at("metadata.creationTimestamp") ?? null,
      lastTimestamp: made.at("metadata.creationTimestamp") ?? null,
      count: 1,
    });
    const said = await target.kubectl(["describe", "pod", "one"], { namespace });
    assert.match(said.stdout, /^Name: {9}one\n/);
    assert.match(said.stdout, /^QoS Class: {8}BestEffort$/m);
    assert.match(said.stdout, /^ {2}Normal {2}Tested {2}\d+s +test {2}was tested$/m);
  });

  itWithKubectl("kubectl wait --for=delete", async () => {
    const namespace = await target.namespace();
    const path = `/api/v1/namespaces/${namespace}/pods`;
    await target.create(path, pod("one", { nodeName: "n1" }));
    const waiting = target.kubectl(["wait", "--for=delete", "pod/one", "--timeout=20s"], {
      namespace,
    });
    await target.delete(`${path}/one`, { gracePeriodSeconds: 0 });
    const said = await waiting;
    assert.equal(said.code, 0, said.stderr);
  });
}

async function walk(target: Target, namespace: string, folder: string): Promise<void> {
  const file = (name: string, object: object) => {
    const path = join(folder, name);
    writeFileSync(path, JSON.stringify(object));
    return path;
  };
  const good = file("good.yaml", manifest("qwen-code-lora"));
  const bad = file("bad.yaml", manifest("bad-lora"));
  const invalid = file("invalid.yaml", manifest("invalid-lora", { replicas: 2 }));
  const editor = join(folder, "editor");
  const edit = `#!/bin/sh\nsed -i 's|artifactURL: .*|artifactURL: huggingface://org/edited|' "$1"\n`;
  writeFileSync(editor, edit, { mode: 0o755 });

  const run = (command: string): Promise<Printed> =>
    target.kubectl(
      command.split(" ").map((word) => word.replace("DIR", folder)),
      { namespace, env: { KUBE_EDITOR: editor } },
    );
  const says = async (command: string, stdout: string, code = 0, stderr = "") => {
    const said = await run(command);
    const found = {
      stdout: plain(said.stdout, namespace, folder),
      stderr: plain(said.stderr, namespace, folder),
      code: said.code,
    };
    assert.deepEqual(found, { stdout, stderr, code }, `kubectl ${command}`);
  };
  const setStatus = async (name: string, body: object) => {
    const path = `${GROUP}/namespaces/${namespace}/modeladapters/${name}/status`;
    (await target.patch(path, "merge", body)).expect(200);
  };

  await says(`apply -f ${good}`, `${NAME} created\n`);
  await says(`apply -f ${good}`, `${NAME} unchanged\n`);
  await says(`apply -f ${bad}`, "modeladapter.model.aibrix.ai/bad-lora created\n");
  await says(
    `apply -f ${invalid}`,
    "",
    1,
    'The ModelAdapter "invalid-lora" is invalid: \n* spec.replicas: Unsupported value: 2: supported values: "1"\n* <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation\n',
  );
  await setStatus("qwen-code-lora", status("Running", "True"));
  await setStatus("bad-lora", status("Failed", "False"));
  await says("get modeladapters", TABLE);
  await says("get modeladapters -o wide", WIDE);
  await says("get modeladapter qwen-code-lora", TABLE.replace(/^bad-lora.*\n/m, ""));
  await says("get modeladapters --show-labels", LABELLED);
  await says("get modeladapters --sort-by=.metadata.name -o name", NAMES);
  await says("describe modeladapter qwen-code-lora", DESCRIBED);
  await says(
    "get svc,endpointslices -l model.aibrix.ai/name=qwen-code-lora",
    "",
    0,
    "No resources found in NS namespace.\n",
  );
  await says("get modeladapter qwen-code-lora -o yaml", YAML);
  await says("get modeladapter -o name", NAMES);
  await says("get modeladapter qwen-code-lora -o jsonpath={.status.phase}", "Running");
  await says(
    "get modeladapter -o custom-columns=N:.metadata.name,P:.status.phase",
    "N                P\nbad-lora         Failed\nqwen-code-lora   Running\n",
  );
  await says(
    "get modeladapter nope",
    "",
    1,
    'Error from server (NotFound): modeladapters.model.aibrix.ai "nope" not found\n',
  );
  await says(
    "get modeladapters -A --field-selector=metadata.namespace=NS -o name".replace("NS", namespace),
    NAMES,
  );
  await says(
    "get events --field-selector involvedObject.kind=ModelAdapter",
    "",
    0,
    "No resources found in NS namespace.\n",
  );
  await says("events --for modeladapter/bad-lora", "", 0, "No events found in NS namespace.\n");
  await says(`diff -f ${good}`, "");
  await says(
    "wait --for=jsonpath={.status.phase}=Running modeladapter/qwen-code-lora --timeout=10s",
    `${NAME} condition met\n`,
  );
  await says(
    "wait --for=condition=Ready modeladapter/qwen-code-lora --timeout=10s",
    `${NAME} condition met\n`,
  );
  await says(
    "wait --for=condition=Ready modeladapter/bad-lora --timeout=1s",
    "",
    1,
    "error: timed out waiting for the condition on modeladapters/bad-lora\n",
  );
  await says(
    'patch modeladapter qwen-code-lora --type=merge -p {"spec":{"additionalConfig":{"a":"x"}}}',
    `${NAME} patched\n`,
  );
  await says(
    'patch modeladapter qwen-code-lora --type=merge -p {"spec":{"additionalConfig":{"a":"x"}}}',
    `${NAME} patched (no change)\n`,
  );
  await says(
    'patch modeladapter qwen-code-lora --type=json -p [{"op":"remove","path":"/spec/additionalConfig"}]',
    `${NAME} patched\n`,
  );
  await says(
    'patch modeladapter qwen-code-lora -p {"spec":{"additionalConfig":null}}',
    "",
    1,
    "error: application/strategic-merge-patch+json is not supported by model.aibrix.ai/v1alpha1, Kind=ModelAdapter: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml\n",
  );
  await says("edit modeladapter qwen-code-lora", `${NAME} edited\n`);
  await says(`apply -f ${good}`, `${NAME} configured\n`);
  await says("label modeladapter qwen-code-lora team=a", `${NAME} labeled\n`);
  await says("label modeladapter qwen-code-lora team=a", `${NAME} not labeled\n`);
  await says(
    "label modeladapter qwen-code-lora team=b",
    "",
    1,
    "error: 'team' already has a value (a), and --overwrite is false\n",
  );
  await says("label modeladapter qwen-code-lora team-", `${NAME} unlabeled\n`);
  await says("annotate modeladapter qwen-code-lora note=b", `${NAME} annotated\n`);
  await says(`replace -f ${good}`, `${NAME} replaced\n`);
  await says(`apply --server-side --force-conflicts -f ${good}`, `${NAME} serverside-applied\n`);
  await says(
    `apply --server-side --dry-run=server --force-conflicts -f ${good}`,
    `${NAME} serverside-applied (server dry run)\n`,
  );
  await says(
    `create -f ${good}`,
    "",
    1,
    'Error from server (AlreadyExists): error when creating "DIR/good.yaml": modeladapters.model.aibrix.ai "qwen-code-lora" already exists\n',
  );
  await says(
    "rollout status modeladapter/qwen-code-lora",
    "",
    1,
    'error: no kind "ModelAdapter" is registered for version "model.aibrix.ai/v1alpha1" in scheme "pkg/scheme/scheme.go:28"\n',
  );
  await says(
    "scale modeladapter/qwen-code-lora --replicas=2",
    "",
    1,
    'Error from server (NotFound): modeladapters.model.aibrix.ai "qwen-code-lora" not found\n',
  );
  await says(
    "delete modeladapter qwen-code-lora",
    'modeladapter.model.aibrix.ai "qwen-code-lora" deleted\n',
  );
  await says(
    "delete modeladapter qwen-code-lora",
    "",
    1,
    'Error from server (NotFound): modeladapters.model.aibrix.ai "qwen-code-lora" not found\n',
  );
  await says("delete modeladapter qwen-code-lora --ignore-not-found", "");
  const path = `${GROUP}/namespaces/${namespace}/modeladapters/bad-lora`;
  const keep = (finalizers: string[] | null) =>
    target.patch(path, "merge", { metadata: { finalizers } });
  await keep(["example.com/keep"]);
  const deleting = run(`delete -f ${bad}`);
  await soon(
    "bad-lora is told to go",
    async () => (await target.get(path)).at("metadata.deletionTimestamp") !== undefined,
  );
  await keep(null);
  assert.deepEqual(await deleting, {
    code: 0,
    stdout: 'modeladapter.model.aibrix.ai "bad-lora" deleted\n',
    stderr: "",
  });
  await says("get modeladapters", "", 0, "No resources found in NS namespace.\n");
}

const TABLE = `NAME             PHASE     DESIRED   READY   CANDIDATES   MODEL PATH                                                     AGE
bad-lora         Failed    1                 1            ${URL}   AGE
qwen-code-lora   Running   1         1       1            ${URL}   AGE
`;
const WIDE = `NAME             PHASE     DESIRED   READY   CANDIDATES   MODEL PATH                                                     AGE   INSTANCES     REASON                     BASE MODEL
bad-lora         Failed    1                 1            ${URL}   AGE                 ModelAdapterLoadingError   base
qwen-code-lora   Running   1         1       1            ${URL}   AGE   ["llama-0"]   ModelAdapterAvailable      base
`;
const LABELLED = `NAME             PHASE     DESIRED   READY   CANDIDATES   MODEL PATH                                                     AGE   LABELS
bad-lora         Failed    1                 1            ${URL}   AGE   model.aibrix.ai/name=bad-lora,model.aibrix.ai/port=8000
qwen-code-lora   Running   1         1       1            ${URL}   AGE   model.aibrix.ai/name=qwen-code-lora,model.aibrix.ai/port=8000
`;
const NAMES =
  "modeladapter.model.aibrix.ai/bad-lora\nmodeladapter.model.aibrix.ai/qwen-code-lora\n";
const DESCRIBED = `Name:         qwen-code-lora
Namespace:    NS
Labels:       model.aibrix.ai/name=qwen-code-lora
              model.aibrix.ai/port=8000
Annotations:  <none>
API Version:  model.aibrix.ai/v1alpha1
Kind:         ModelAdapter
Metadata:
  Creation Timestamp:  TIME
  Generation:          1
  Resource Version:    N
  UID:                 UID
Spec:
  Artifact URL:  ${URL}
  Base Model:    base
  Pod Selector:
    Match Labels:
      Grp:                   good
      model.aibrix.ai/name:  base
  Scheduler Name:            default
Status:
  Candidates:  1
  Conditions:
    Last Transition Time:  2026-01-01T00:00:00Z
    Message:               Starting reconciliation
    Reason:                ModelAdapterPending
    Status:                Unknown
    Type:                  Initialized
    Last Transition Time:  2026-01-01T00:00:00Z
    Message:               is ready
    Reason:                ModelAdapterAvailable
    Status:                True
    Type:                  Ready
  Desired Replicas:        1
  Instances:
    llama-0
  Phase:           Running
  Ready Replicas:  1
  Summary:         ModelAdapterAvailable
Events:            <none>
`;
const YAML = `apiVersion: model.aibrix.ai/v1alpha1
kind: ModelAdapter
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"model.aibrix.ai/v1alpha1","kind":"ModelAdapter","metadata":{"annotations":{},"labels":{"model.aibrix.ai/name":"qwen-code-lora","model.aibrix.ai/port":"8000"},"name":"qwen-code-lora","namespace":"NS"},"spec":{"artifactURL":"${URL}","baseModel":"base","podSelector":{"matchLabels":{"grp":"good","model.aibrix.ai/name":"base"}}}}
  creationTimestamp: "TIME"
  generation: 1
  labels:
    model.aibrix.ai/name: qwen-code-lora
    model.aibrix.ai/port: "8000"
  name: qwen-code-lora
  namespace: NS
  resourceVersion: "N"
  uid: UID
spec:
  artifactURL: ${URL}
  baseModel: base
  podSelector:
    matchLabels:
      grp: good
      model.aibrix.ai/name: base
  schedulerName: default
status:
  candidates: 1
  conditions:
  - lastTransitionTime: "2026-01-01T00:00:00Z"
    message: Starting reconciliation
    reason: ModelAdapterPending
    status: Unknown
    type: Initialized
  - lastTransitionTime: "2026-01-01T00:00:00Z"
    message: is ready
    reason: ModelAdapterAvailable
    status: "True"
    type: Ready
  desiredReplicas: 1
  instances:
  - llama-0
  phase: Running
  readyReplicas: 1
  summary: ModelAdapterAvailable
`;
