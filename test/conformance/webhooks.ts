/** Admission webhooks, honoured. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { isObject, type JsonObject } from "#base/json.ts";
import { itWithKubectl } from "#test/support/programs.ts";
import { at } from "./answer.ts";
import { adapter, configMap, GROUP } from "./objects.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";
import { startWebhook, type Verdict, type WebhookServer } from "./webhook-server.ts";

const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
/** Of the object with which `installed` finds out that a configuration is in force. */
const PROBE = "probe";

type Decide = (request: JsonObject) => Verdict | undefined;

interface Setup {
  readonly kind: "Mutating" | "Validating";
  readonly decide: Decide;
  /** Added to the webhook. */
  readonly webhook?: JsonObject;
}

interface World extends AsyncDisposable {
  readonly namespace: string;
  readonly maps: string;
  readonly adapters: string;
  readonly server: WebhookServer;
  /** The name that the webhook has. */
  readonly name: string;
  /** What the webhook was asked about the object of this name. */
  asked(name: string): JsonObject[];
}

export function webhookTests(target: Target): void {
  /** A namespace whose objects a webhook of this test's own is asked about. */
  async function setUp({ kind, decide, webhook = {} }: Setup): Promise<World> {
    const namespace = await target.namespace();
    const name = `${target.unique("hook")}.example.com`;
    const server = await startWebhook((request) =>
      request["name"] === PROBE ? { allowed: false } : decide(request),
    );
    const resource = `${kind.toLowerCase()}webhookconfigurations`;
    const rule = (apiGroups: string[], resources: string[]) => ({
      apiGroups,
      apiVersions: ["*"],
      operations: ["CREATE", "UPDATE", "DELETE"],
      resources,
    });
    await target.create(`${ADMISSION}/${resource}`, {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: `${kind}WebhookConfiguration`,
      metadata: { name },
      webhooks: [
        {
          name,
          clientConfig: server.clientConfig(),
          admissionReviewVersions: ["v1"],
          sideEffects: "None",
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
          rules: [rule([""], ["configmaps"]), rule(["model.aibrix.ai"], ["modeladapters"])],
          ...webhook,
        },
        // The same for every setting above: says when the configuration is in force.
        {
          name: `probe.${name}`,
          clientConfig: server.clientConfig(),
          admissionReviewVersions: ["v1"],
          sideEffects: "None",
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
          rules: [rule([""], ["secrets"])],
        },
      ],
    });
    const probe = { apiVersion: "v1", kind: "Secret", metadata: { name: PROBE } };
    await soon(
      `the webhook ${name} is in force`,
      async () =>
        (await target.post(`/api/v1/namespaces/${namespace}/secrets?dryRun=All`, probe)).status >=
        400,
    );
    return {
      namespace,
      name,
      server,
      maps: `/api/v1/namespaces/${namespace}/configmaps`,
      adapters: `${GROUP}/namespaces/${namespace}/modeladapters`,
      asked: (object) => server.requests.filter((request) => request["name"] === object),
      [Symbol.asyncDispose]: async () => {
        await target.delete(`${ADMISSION}/${resource}/${name}`);
        await server[Symbol.asyncDispose]();
      },
    };
  }

  const patch = (operations: unknown): Verdict => ({
    allowed: true,
    patchType: "JSONPatch",
    patch: Buffer.from(JSON.stringify(operations)).toString("base64"),
  });
  const allow: Decide = () => ({ allowed: true });

  it("mutating: its patch is applied", async () => {
    await using world = await setUp({
      kind: "Mutating",
      decide: () => patch([{ op: "add", path: "/metadata/labels", value: { added: "yes" } }]),
    });
    const map = await target.create(world.maps, configMap("one"));
    assert.deepEqual(map.at("metadata.labels"), { added: "yes" });
    const custom = await target.create(world.adapters, adapter("one"));
    assert.deepEqual(custom.at("metadata.labels"), { added: "yes" });
    assert.deepEqual((await target.get(`${world.adapters}/one`)).at("metadata.labels"), {
      added: "yes",
    });
  });

  it("mutating: what it makes is validated, and defaults and pruning come after", async () => {
    await using world = await setUp({
      kind: "Mutating",
      decide: ({ name }) =>
        patch(
          name === "bad"
            ? [{ op: "add", path: "/spec/replicas", value: 2 }]
            : [
                { op: "remove", path: "/spec/schedulerName" },
                { op: "add", path: "/spec/unknown", value: 1 },
              ],
        ),
    });
    (await target.post(world.adapters, adapter("bad"))).expect(422);
    const made = await target.create(world.adapters, adapter("good"));
    assert.deepEqual(made.at("spec"), { ...adapter("good").spec, schedulerName: "default" });
  });

  it("the review says who does what to which object", async () => {
    await using world = await setUp({ kind: "Validating", decide: allow });
    const made = await target.create(world.adapters, adapter("one"));
    const changed = { spec: { baseModel: "b" } };
    await target.patch(`${world.adapters}/one?fieldManager=me`, "merge", changed);
    await target.delete(`${world.adapters}/one`);
    const [create, update, remove] = world.asked("one");
    assert.ok(create !== undefined && update !== undefined && remove !== undefined);
    const { uid, object, oldObject, userInfo, options, ...rest } = create;
    assert.match(String(uid), /^[0-9a-f-]{36}$/);
    assert.deepEqual(rest, {
      kind: { group: "model.aibrix.ai", version: "v1alpha1", kind: "ModelAdapter" },
      resource: { group: "model.aibrix.ai", version: "v1alpha1", resource: "modeladapters" },
      requestKind: { group: "model.aibrix.ai", version: "v1alpha1", kind: "ModelAdapter" },
      requestResource: {
        group: "model.aibrix.ai",
        version: "v1alpha1",
        resource: "modeladapters",
      },
      name: "one",
      namespace: world.namespace,
      operation: "CREATE",
      dryRun: false,
    });
    assert.equal(oldObject, null);
    assert.deepEqual(options, { kind: "CreateOptions", apiVersion: "meta.k8s.io/v1" });
    assert.equal(typeof at(userInfo, "username"), "string");
    const groups = at(userInfo, "groups");
    assert.ok(Array.isArray(groups) && groups.includes("system:masters"), JSON.stringify(groups));
    assert.equal(at(object, "spec.schedulerName"), "default", "defaults are in place");
    assert.equal(at(object, "metadata.uid"), made.uid);
    assert.equal(at(object, "metadata.resourceVersion"), undefined);

    assert.equal(update["operation"], "UPDATE");
    assert.equal(at(update, "object.spec.baseModel"), "b");
    assert.equal(at(update, "oldObject.spec.baseModel"), "base");
    // A patch is an update for those who ask.
    assert.deepEqual(update["options"], {
      kind: "UpdateOptions",
      apiVersion: "meta.k8s.io/v1",
      fieldManager: "me",
    });

    assert.equal(remove["operation"], "DELETE");
    assert.equal(remove["object"], null);
    assert.equal(at(remove, "oldObject.metadata.name"), "one");
    assert.equal(at(remove, "options.kind"), "DeleteOptions");
  });

  it("validating: no, with a message", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: false, status: { message: "not today" } }),
    });
    (await target.post(world.maps, configMap("one"))).refused({
      code: 400,
      message: `admission webhook "${world.name}" denied the request: not today`,
    });
  });

  it("validating: no, without a word", async () => {
    await using world = await setUp({ kind: "Validating", decide: () => ({ allowed: false }) });
    (await target.post(world.maps, configMap("one"))).refused({
      code: 400,
      message: `admission webhook "${world.name}" denied the request without explanation`,
    });
  });

  it("validating: no, with a code and a reason", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({
        allowed: false,
        status: { message: "try later", code: 422, reason: "Invalid" },
      }),
    });
    (await target.post(world.maps, configMap("one"))).refused({
      code: 422,
      reason: "Invalid",
      message: `admission webhook "${world.name}" denied the request: try later`,
    });
  });

  it("validating: of updates and deletes too", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: ({ operation }) =>
        operation === "CREATE"
          ? { allowed: true }
          : { allowed: false, status: { message: `no ${operation}` } },
    });
    await target.create(world.maps, configMap("one"));
    const said = async (answer: ReturnType<Target["get"]>) =>
      (await answer).expect(400).textAt("message").split(": ").at(-1);
    assert.equal(
      await said(target.patch(`${world.maps}/one`, "merge", { data: { b: "1" } })),
      "no UPDATE",
    );
    assert.equal(
      await said(target.put(`${world.maps}/one`, configMap("one", { b: "1" }))),
      "no UPDATE",
    );
    assert.equal(await said(target.delete(`${world.maps}/one`)), "no DELETE");
    (await target.get(`${world.maps}/one`)).expect(200);
  });

  itWithKubectl("kubectl passes a denial on", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: false, status: { message: "not today" } }),
    });
    const said = await target.kubectl(["apply", "-f", "-"], {
      namespace: world.namespace,
      input: JSON.stringify(adapter("one")),
    });
    assert.deepEqual(said, {
      code: 1,
      stdout: "",
      stderr: `Error from server: error when creating "STDIN": admission webhook "${world.name}" denied the request: not today\n`,
    });
  });

  it("failurePolicy Fail, the default", async () => {
    await using world = await setUp({ kind: "Validating", decide: () => undefined });
    const answer = (await target.post(world.maps, configMap("one"))).expect(500);
    assert.equal(answer.at("reason"), "InternalError");
    const message = `failed calling webhook "${world.name}": failed to call webhook: an error on the server ("the webhook is out of order") has prevented the request from succeeding`;
    assert.equal(answer.at("message"), `Internal error occurred: ${message}`);
    assert.deepEqual(answer.at("details"), { causes: [{ message }] });
  });

  it("failurePolicy Ignore", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => undefined,
      webhook: { failurePolicy: "Ignore" },
    });
    await target.create(world.maps, configMap("one"));
    assert.equal(world.asked("one").length, 1);
  });

  it("failurePolicy Fail when nobody is there", async () => {
    const clientConfig = { url: "https://127.0.0.1:1/" };
    await using world = await setUp({
      kind: "Validating",
      decide: allow,
      webhook: { clientConfig },
    });
    const answer = (await target.post(world.maps, configMap("one"))).expect(500);
    const message = answer.textAt("message");
    const call = `failed calling webhook "${world.name}": failed to call webhook: Post "https://127.0.0.1:1/?timeout=10s": dial tcp 127.0.0.1:1: `;
    assert.ok(message.startsWith(`Internal error occurred: ${call}`), message);
  });

  it("namespaceSelector: nobody else is asked about", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: false, status: { message: "no" } }),
    });
    const other = `/api/v1/namespaces/${await target.namespace()}/configmaps`;
    await target.create(other, configMap("other"));
    assert.equal(world.asked("other").length, 0);
  });

  it("objectSelector", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: false, status: { message: "no" } }),
      webhook: { objectSelector: { matchLabels: { watched: "yes" } } },
    });
    await target.create(world.maps, configMap("free"));
    const labels = { watched: "yes" };
    (await target.post(world.maps, configMap("one", {}, { labels }))).expect(400);
    // The old or the new object is enough.
    (await target.patch(`${world.maps}/free`, "merge", { metadata: { labels } })).expect(400);
  });

  it("rules: only what they name", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: false, status: { message: "no" } }),
      webhook: {
        rules: [
          {
            apiGroups: ["model.aibrix.ai"],
            apiVersions: ["v1alpha1"],
            operations: ["UPDATE"],
            resources: ["modeladapters/status"],
          },
        ],
      },
    });
    await target.create(world.adapters, adapter("one"));
    (await target.patch(`${world.adapters}/one`, "merge", { spec: { baseModel: "b" } })).expect(
      200,
    );
    const status = { status: { phase: "Running" } };
    (await target.patch(`${world.adapters}/one/status`, "merge", status)).expect(400);
    const [request] = world.asked("one");
    assert.equal(request?.["subResource"], "status");
    assert.equal(request?.["requestSubResource"], "status");
  });

  it("matchConditions", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: false, status: { message: "no" } }),
      webhook: {
        matchConditions: [{ name: "named", expression: "object.metadata.name.startsWith('no-')" }],
      },
    });
    await target.create(world.maps, configMap("yes-1"));
    (await target.post(world.maps, configMap("no-1"))).expect(400);
  });

  itWithKubectl("warnings reach the client", async () => {
    await using world = await setUp({
      kind: "Validating",
      decide: () => ({ allowed: true, warnings: ["take care", 'say "so"'] }),
    });
    const made = await target.create(world.maps, configMap("one"));
    assert.deepEqual(made.warnings, ["take care", 'say "so"']);
    const said = await target.kubectl(["create", "-f", "-"], {
      namespace: world.namespace,
      input: JSON.stringify(configMap("two")),
    });
    assert.deepEqual(said, {
      code: 0,
      stdout: "configmap/two created\n",
      stderr: 'Warning: take care\nWarning: say "so"\n',
    });
  });

  it("dryRun is passed on, and refused for whom it may have side effects", async () => {
    await using world = await setUp({ kind: "Validating", decide: allow });
    (await target.post(`${world.maps}?dryRun=All`, configMap("one"))).expect(201);
    assert.equal(world.asked("one")[0]?.["dryRun"], true);
    await using wild = await setUp({
      kind: "Validating",
      decide: allow,
      webhook: { sideEffects: "NoneOnDryRun" },
    });
    (await target.post(`${wild.maps}?dryRun=All`, configMap("one"))).expect(201);
    assert.equal(wild.asked("one")[0]?.["dryRun"], true);
  });

  it("two mutate one after the other, in the order of their names", async () => {
    const namespace = await target.namespace();
    const name = target.unique("order");
    await using server = await startWebhook(({ name: object, object: value }) => {
      if (object === PROBE) return { allowed: false };
      const before = at(value, "data.order") ?? "";
      const step = String(before).length + 1;
      return patch([{ op: "add", path: "/data/order", value: `${before}${step}` }]);
    });
    const hook = (id: string, resources: string[]) => ({
      name: `${id}.${name}.example.com`,
      clientConfig: server.clientConfig(),
      admissionReviewVersions: ["v1"],
      sideEffects: "None",
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
      rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources }],
    });
    const path = `${ADMISSION}/mutatingwebhookconfigurations`;
    await target.create(path, {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "MutatingWebhookConfiguration",
      metadata: { name },
      webhooks: [hook("a", ["configmaps"]), hook("b", ["configmaps"]), hook("p", ["secrets"])],
    });
    const probe = { apiVersion: "v1", kind: "Secret", metadata: { name: PROBE } };
    await soon(
      "the webhooks are in force",
      async () =>
        (await target.post(`/api/v1/namespaces/${namespace}/secrets?dryRun=All`, probe)).status >=
        400,
    );
    const made = await target.create(
      `/api/v1/namespaces/${namespace}/configmaps`,
      configMap("one"),
    );
    assert.ok(isObject(made.at("data") ?? null));
    assert.equal(made.at("data.order"), "12");
    await target.delete(`${path}/${name}`);
  });

  it("an invalid configuration", async () => {
    const path = `${ADMISSION}/validatingwebhookconfigurations`;
    const answer = await target.post(path, {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "ValidatingWebhookConfiguration",
      metadata: { name: target.unique("bad") },
      webhooks: [
        {
          name: "short",
          clientConfig: { url: "http://127.0.0.1/" },
          admissionReviewVersions: ["v1"],
          sideEffects: "Some",
        },
      ],
    });
    const causes = answer.expect(422).at("details.causes");
    assert.ok(Array.isArray(causes));
    assert.deepEqual(
      causes.map((one) => `${at(one, "field")}: ${at(one, "message")}`),
      [
        'webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by dots',
        'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"',
        "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
      ],
    );
  });
}
