import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, describe, it, type TestContext } from "node:test";
import type { Json, JsonObject } from "#base/json.ts";
import { applyJsonPatch } from "#base/json-patch.ts";
import { makeCertificate, makeKey } from "#serve/certificate.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { bodyOf } from "#test/support/http-server.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import type { AdmissionRequest } from "../registry/admission.ts";
import { ApiError } from "../registry/api-error.ts";
import { type AdmissionDeps, createAdmission } from "./webhooks.ts";

const kindOf = (name: string): Kind => {
  const found = builtinKinds().find(({ kind }) => kind === name);
  assert.ok(found !== undefined);
  return found;
};

const POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "web", namespace: "team", labels: { app: "web" } },
  spec: { priority: 3 },
};

const requestOf = (more: Partial<AdmissionRequest> = {}): AdmissionRequest => ({
  operation: "CREATE",
  kind: kindOf("Pod"),
  subresource: "",
  namespace: "team",
  name: "web",
  object: POD,
  oldObject: undefined,
  user: { name: "jane", groups: ["system:authenticated"] },
  dryRun: false,
  ...more,
});

/** What a webhook says to a request. */
type Reply = (request: JsonObject) => JsonObject;

let ca: { cert: string; key: string };
let tls: { cert: string; key: string };
const servers: Server[] = [];

before(async () => {
  const life = { notBeforeMs: Date.now() - 1000, notAfterMs: Date.now() + 3_600_000 };
  const caKey = await makeKey();
  const cert = { key: caKey, issuer: undefined, commonName: "ca", hosts: [], ...life };
  ca = { key: caKey, cert: await makeCertificate(cert) };
  const key = await makeKey();
  const hosts = ["127.0.0.1", "hook.team.svc"];
  tls = {
    key,
    cert: await makeCertificate({ key, issuer: ca, commonName: "hook", hosts, ...life }),
  };
});
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** A real webhook; `seen` has the requests of the AdmissionReviews that it got. */
async function hook(reply: Reply = () => ({ allowed: true })) {
  const seen: JsonObject[] = [];
  const paths: string[] = [];
  const server = createServer(tls, async (request, response) => {
    const review = JSON.parse(await bodyOf(request)) as JsonObject;
    const asked = objectAt(review, "request");
    seen.push(asked);
    paths.push(request.url ?? "");
    const answer = { uid: stringAt(asked, "uid"), ...reply(asked) };
    const { apiVersion, kind } = review;
    const body =
      "raw" in answer
        ? String(answer["raw"])
        : JSON.stringify({ apiVersion, kind, response: answer });
    const code = "code" in answer ? Number(answer["code"]) : 200;
    response.writeHead(code, {
      "content-type": "raw" in answer ? "text/plain" : "application/json",
    });
    response.end(body);
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { seen, paths, port, url: `https://127.0.0.1:${port}/check` };
}

const ALL_PODS = { apiGroups: [""], apiVersions: ["v1"], operations: ["*"], resources: ["pods"] };

/** A configuration with one webhook. */
const configured = (name: string, url: string, more: JsonObject = {}): JsonObject => ({
  metadata: { name },
  webhooks: [
    {
      name: `${name}.x.org`,
      clientConfig: { url, caBundle: Buffer.from(ca.cert).toString("base64") },
      rules: [ALL_PODS],
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
      ...more,
    },
  ],
});

const patching = (operations: Json[]): JsonObject => ({
  allowed: true,
  patchType: "JSONPatch",
  patch: Buffer.from(JSON.stringify(operations)).toString("base64"),
});

const admissionOf = (
  configurations: { mutating?: JsonObject[]; validating?: JsonObject[] },
  more: Partial<AdmissionDeps> = {},
) =>
  createAdmission({
    configurations: () => ({ mutating: [], validating: [], ...configurations }),
    namespaceLabels: (name) => (name === "team" ? { stage: "test" } : undefined),
    serviceAddress: () => undefined,
    clock: systemClock,
    ...more,
  });

/** `code message` of the refusal. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof ApiError, String(error));
    return `${error.code} ${error.message}`;
  }
  return "allowed";
}

const validating = (configuration: JsonObject, more: Partial<AdmissionRequest> = {}) =>
  refusal(admissionOf({ validating: [configuration] }).validate(requestOf(more)));

describe("webhooks", () => {
  it("get a v1 AdmissionReview", async () => {
    const { url, seen, paths } = await hook();
    const { warnings } = await admissionOf({ validating: [configured("a", url)] }).validate(
      requestOf({ operation: "UPDATE", oldObject: { ...POD, spec: {} }, dryRun: true }),
    );
    assert.deepEqual(warnings, []);
    const { uid, ...request } = seen[0] ?? {};
    assert.match(String(uid), /^[0-9a-f-]{36}$/);
    const gvk = { group: "", version: "v1", kind: "Pod" };
    const gvr = { group: "", version: "v1", resource: "pods" };
    assert.deepEqual(request, {
      kind: gvk,
      resource: gvr,
      requestKind: gvk,
      requestResource: gvr,
      name: "web",
      namespace: "team",
      operation: "UPDATE",
      userInfo: { username: "jane", groups: ["system:authenticated"] },
      object: POD,
      oldObject: { ...POD, spec: {} },
      dryRun: true,
      options: { kind: "UpdateOptions", apiVersion: "meta.k8s.io/v1" },
    });
    assert.deepEqual(paths, ["/check?timeout=10s"]);
  });

  it("refuse with their own code, reason and words", async () => {
    const denied = async (status: JsonObject | undefined) => {
      const { url } = await hook(() => ({ allowed: false, ...(status ? { status } : {}) }));
      return validating(configured("a", url));
    };
    const text = 'admission webhook "a.x.org" denied the request';
    assert.equal(await denied({ message: "no", code: 403 }), `403 ${text}: no`);
    assert.equal(await denied({ reason: "Because" }), `400 ${text}: Because`);
    assert.equal(await denied(undefined), `400 ${text} without explanation`);
    assert.equal(await denied({ code: 200, message: "" }), `400 ${text} without explanation`);
  });

  it("warn", async () => {
    const { url } = await hook(() => ({ allowed: true, warnings: ["old field", "old field"] }));
    const configurations = [configured("a", url)];
    const admission = admissionOf({ validating: configurations, mutating: configurations });
    assert.deepEqual((await admission.validate(requestOf())).warnings, ["old field"]);
    assert.deepEqual((await admission.mutate(requestOf())).warnings, ["old field"]);
  });

  it("change the object one after the other, by the name of their configuration", async () => {
    const label =
      (value: string): Reply =>
      (request) =>
        patching([
          {
            op: "add",
            path: "/metadata/labels/app",
            value: `${stringAt(objectAt(objectAt(objectAt(request, "object"), "metadata"), "labels"), "app")}-${value}`,
          },
        ]);
    const [first, second] = [await hook(label("1")), await hook(label("2"))];
    const mutating = [configured("b", second.url), configured("a", first.url)];
    const { object } = await admissionOf({ mutating }).mutate(requestOf());
    assert.deepEqual(objectAt(objectAt(object, "metadata"), "labels"), { app: "web-1-2" });
    assert.deepEqual(POD.metadata.labels, { app: "web" }, "what came in stays as it was");
    const empty = await hook(() => patching([]));
    const same = await admissionOf({ mutating: [configured("a", empty.url)] }).mutate(requestOf());
    assert.deepEqual(same.object, POD);
  });

  it("are asked a second time when others changed the object after them, if they like", async () => {
    const quiet = await hook();
    const again = await hook();
    const set: Reply = () => patching([{ op: "add", path: "/spec/seen", value: true }]);
    const changing = await hook(set);
    const last = await hook();
    const ifNeeded = { reinvocationPolicy: "IfNeeded" };
    const mutating = [
      configured("a", quiet.url),
      configured("b", again.url, ifNeeded),
      configured("c", changing.url, ifNeeded),
      configured("d", last.url, ifNeeded),
    ];
    await admissionOf({ mutating }).mutate(requestOf());
    const counts = [quiet, again, changing, last].map(({ seen }) => seen.length);
    assert.deepEqual(counts, [1, 2, 1, 1]);
    assert.deepEqual(objectAt(objectAt(again.seen[1], "object"), "spec"), {
      priority: 3,
      seen: true,
    });
  });

  it("that give patches which do not fit are an internal error, whatever the policy", async () => {
    const mutate = async (reply: JsonObject, more: Partial<AdmissionRequest> = {}) => {
      const { url } = await hook(() => reply);
      const mutating = [configured("a", url, { failurePolicy: "Ignore" })];
      return refusal(admissionOf({ mutating }).mutate(requestOf(more)));
    };
    const removal = patching([{ op: "remove", path: "/none" }]);
    assert.match(await mutate(removal), /^500 Internal error occurred: .*nothing at \/none/);
    assert.equal(
      await mutate(removal, { operation: "DELETE", object: undefined, oldObject: POD }),
      '500 Internal error occurred: admission webhook "a.x.org" attempted to modify the object, which is not supported for this operation',
    );
    assert.equal(await mutate({ ...removal, patchType: "Other" }), "allowed", "passed over");
  });

  it("that cannot be asked block the request, or are passed over", async () => {
    const failed = 'failed calling webhook "a.x.org": failed to call webhook';
    const down = await hook();
    servers.at(-1)?.close();
    await once(servers.at(-1) as Server, "close");
    assert.equal(
      await validating(configured("a", down.url)),
      `500 Internal error occurred: ${failed}: Post "${down.url}?timeout=10s": dial tcp 127.0.0.1:${down.port}: connect: connection refused`,
    );
    const ignored = configured("a", down.url, { failurePolicy: "Ignore" });
    assert.equal(await validating(ignored), "allowed");
    const { object } = await admissionOf({ mutating: [ignored] }).mutate(requestOf());
    assert.deepEqual(object, POD);

    const answering = async (reply: JsonObject) => {
      const { url } = await hook(() => reply);
      const text = await validating(configured("a", url));
      return text.replace("500 Internal error occurred: ", "").replace(failed, "…");
    };
    assert.equal(
      await answering({ raw: "boom", code: 500 }),
      '…: an error on the server ("boom") has prevented the request from succeeding',
    );
    assert.equal(
      await answering({ raw: "", code: 404 }),
      "…: the server could not find the requested resource",
    );
    assert.match(
      await answering({ raw: "<html>" }),
      /^…: couldn't get version\/kind; json parse error/,
    );
    const invalid = 'failed calling webhook "a.x.org": received invalid webhook response';
    assert.match(
      await answering({ allowed: true, uid: "x" }),
      new RegExp(`^${invalid}: expected response.uid="[0-9a-f-]+", got "x"$`),
    );
    assert.equal(
      await answering(patching([{ op: "remove", path: "/spec" }])),
      `${invalid}: validating webhook may not return response.patch`,
    );
    assert.equal(await answering({ raw: "{}" }), `${invalid}: webhook response was absent`);
  });

  it("are trusted by their caBundle and name only", async () => {
    const { url, port } = await hook();
    const failed =
      '500 Internal error occurred: failed calling webhook "a.x.org": failed to call webhook: Post';
    const x509 = "tls: failed to verify certificate: x509:";
    assert.equal(
      await validating(configured("a", url, { clientConfig: { url } })),
      `${failed} "${url}?timeout=10s": ${x509} certificate signed by unknown authority`,
    );
    const caBundle = Buffer.from(ca.cert).toString("base64");
    const other = `https://localhost:${port}/`;
    assert.equal(
      await validating(configured("a", url, { clientConfig: { url: other, caBundle } })),
      `${failed} "${other}?timeout=10s": ${x509} certificate is valid for hook.team.svc, not localhost`,
    );
  });

  it("behind a Service are found where it is, and verified by its name", async () => {
    const { port, paths } = await hook();
    const service = { namespace: "team", name: "hook", path: "check/me", port: 8443 };
    const caBundle = Buffer.from(ca.cert).toString("base64");
    const configuration = configured("a", "", { clientConfig: { service, caBundle } });
    const asked: unknown[] = [];
    const validate = (address: string | undefined) =>
      refusal(
        admissionOf(
          { validating: [configuration] },
          {
            serviceAddress: (reference) => {
              asked.push(reference);
              return address;
            },
          },
        ).validate(requestOf()),
      );
    assert.equal(await validate(`127.0.0.1:${port}`), "allowed");
    assert.deepEqual(paths, ["/check/me?timeout=10s"]);
    assert.deepEqual(asked, [{ namespace: "team", name: "hook", port: 8443 }]);
    assert.equal(
      await validate(undefined),
      '500 Internal error occurred: failed calling webhook "a.x.org": failed to call webhook: Post "https://hook.team.svc:8443/check/me?timeout=10s": service "hook" not found',
    );
  });

  it("have the time that their configuration gives", async (t: TestContext) => {
    const clock = new ManualClock();
    const stuck = createServer(tls, () => {});
    t.after(() => {
      stuck.closeAllConnections();
      stuck.close();
    });
    stuck.listen(0, "127.0.0.1");
    await once(stuck, "listening");
    const url = `https://127.0.0.1:${(stuck.address() as AddressInfo).port}/`;
    const validating = [configured("a", url, { timeoutSeconds: 3 })];
    const answer = refusal(admissionOf({ validating }, { clock }).validate(requestOf()));
    await once(stuck, "request");
    await eventually("it waits", () => clock.pending === 1);
    await clock.advance(3_000);
    assert.equal(
      await answer,
      `500 Internal error occurred: failed calling webhook "a.x.org": failed to call webhook: Post "${url}?timeout=3s": context deadline exceeded`,
    );
  });

  it("with side effects are never asked in a dry run", async () => {
    const { url, seen } = await hook();
    const dryRun = (sideEffects: string) =>
      validating(configured("a", url, { sideEffects, failurePolicy: "Ignore" }), { dryRun: true });
    assert.equal(await dryRun("Some"), '400 admission webhook "a.x.org" does not support dry run');
    assert.equal(seen.length, 0);
    assert.equal(await dryRun("NoneOnDryRun"), "allowed");
    assert.equal(seen.length, 1);
  });

  it("are all asked at once when they validate, and one refusal counts", async () => {
    const yes = await hook();
    const no = await hook(() => ({ allowed: false, status: { message: "no", code: 409 } }));
    const configurations = [configured("a", no.url), configured("b", yes.url)];
    assert.equal(
      await refusal(admissionOf({ validating: configurations }).validate(requestOf())),
      '409 admission webhook "a.x.org" denied the request: no',
    );
    assert.equal(yes.seen.length, 1);
  });

  it("never hear of changes to their own configurations", async () => {
    const { url, seen } = await hook(() => ({ allowed: false }));
    const rule = { apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"] };
    const configurations = [configured("a", url, { rules: [rule] })];
    const kind = kindOf("ValidatingWebhookConfiguration");
    const admission = admissionOf({ validating: configurations, mutating: configurations });
    const request = requestOf({ kind, namespace: "", object: {} });
    await admission.validate(request);
    await admission.mutate(request);
    assert.equal(seen.length, 0);
  });
});

describe("which requests a webhook hears of", () => {
  /** Whether a webhook with these settings is asked; the refusal when there is one. */
  async function hears(settings: JsonObject, more: Partial<AdmissionRequest> = {}) {
    const { url, seen } = await hook();
    const text = await validating(configured("a", url, settings), more);
    return text === "allowed" ? seen.length === 1 : text;
  }
  const rule = (more: JsonObject) => ({ rules: [{ ...ALL_PODS, ...more }] });
  const node = { kind: kindOf("Node"), namespace: "", name: "n", object: { metadata: {} } };
  const namespace = (labels: Record<string, string>) => ({
    kind: kindOf("Namespace"),
    namespace: "",
    name: "team",
    object: { metadata: { name: "team", labels } },
  });

  it("rules name groups, versions, resources, operations and scope", async () => {
    const log = { subresource: "log" };
    const scale = { kind: kindOf("Deployment"), subresource: "scale" };
    const cases: [JsonObject, Partial<AdmissionRequest>, boolean][] = [
      [{}, {}, true],
      [{ operations: ["UPDATE"] }, {}, false],
      [{ apiGroups: ["apps"] }, {}, false],
      [{ apiVersions: ["v2", "*"] }, {}, true],
      [{ resources: ["*"] }, {}, true],
      [{ resources: ["*"] }, log, false],
      [{ resources: ["pods/*"] }, log, true],
      [{ resources: ["pods/*"] }, {}, true],
      [{ resources: ["*/*"] }, log, true],
      [{ resources: ["*/scale"], apiGroups: ["*"] }, scale, true],
      [{ resources: ["*/scale"], apiGroups: ["*"] }, log, false],
      [{ scope: "Namespaced" }, {}, true],
      [{ scope: "Cluster" }, {}, false],
      [{ resources: ["*"], scope: "Cluster" }, node, true],
      [{ resources: ["*"], scope: "Cluster" }, namespace({}), true],
      [{ resources: ["*"], scope: "Namespaced" }, namespace({}), false],
    ];
    for (const [settings, request, expected] of cases) {
      const label = JSON.stringify([settings, request.subresource, request.kind?.kind]);
      assert.equal(await hears(rule(settings), request), expected, label);
    }
  });

  it("selectors look at the labels of the namespace and of both objects", async () => {
    const stage = (value: string) => ({
      ...rule({ resources: ["*"] }),
      namespaceSelector: { matchLabels: { stage: value } },
    });
    assert.equal(await hears(stage("test")), true);
    assert.equal(await hears(stage("live")), false);
    assert.equal(await hears(stage("live"), node), true, "outside all namespaces");
    assert.equal(await hears(stage("live"), namespace({ stage: "live" })), true, "as it will be");
    const deletion = { operation: "DELETE", oldObject: {}, object: undefined } as const;
    const deleted = { ...namespace({}), ...deletion };
    assert.equal(await hears(stage("test"), deleted), true, "as it is");
    assert.equal(await hears(stage("x"), { namespace: "none" }), '404 namespaces "none" not found');
    const app = (value: string) => ({
      objectSelector: { matchExpressions: [{ key: "app", operator: "In", values: [value] }] },
    });
    assert.equal(await hears(app("web")), true);
    assert.equal(await hears(app("old")), false);
    const oldObject = applyJsonPatch(POD, [
      { op: "replace", path: "/metadata/labels/app", value: "old" },
    ]) as JsonObject;
    assert.equal(await hears(app("old"), { operation: "UPDATE", oldObject }), true);
    assert.equal(await hears(app("web"), { ...deletion, oldObject: POD }), true);
  });

  it("match conditions decide in CEL", async () => {
    const when = (...expressions: string[]) => ({
      matchConditions: expressions.map((expression, index) => ({ name: `c${index}`, expression })),
    });
    assert.equal(await hears(when("object.spec.priority > 2")), true);
    assert.equal(await hears(when("object.spec.priority > 3")), false);
    assert.equal(await hears(when('request.userInfo.username == "jane"')), true);
    assert.equal(
      await hears(when('object.metadata.labels["app"] == "web"', "oldObject == null")),
      true,
    );
    assert.equal(await hears(when("has(object.spec.none)")), false);
    const broken = when("object.spec.none == 1");
    assert.equal(
      await hears(broken),
      "403 pods \"web\" is forbidden: expression 'object.spec.none == 1' resulted in error: no such key: none",
    );
    assert.equal(await hears({ ...broken, failurePolicy: "Ignore" }), false);
    assert.equal(await hears(when("object.spec.none == 1", "false")), false, "false wins");
    assert.match(String(await hears(when("object.("))), /^403 pods "web" is forbidden: expression/);
  });
});
