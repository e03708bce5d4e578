/**
 * Writes fixtures/kubernetes/builtins.json: what a kube-apiserver (1.34, without the ServiceAccount
 * admission plugin, without controllers) makes of the objects in builtin-cases.ts, and of updates of
 * them. Run by hand: node scripts/record-builtins.ts <kubeconfig>
 */
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "undici";
import { parse } from "yaml";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { kindKey } from "#local/apiserver/builtins/edit.ts";
import { fieldLabelsOf } from "#local/apiserver/builtins/field-labels.ts";
import { builtinKinds } from "#local/apiserver/kinds/builtin-kinds.ts";
import type { Kind } from "#local/apiserver/kinds/kind.ts";
import { normalAnswer } from "#test/support/normal-answers.ts";
import type { Update } from "./builtin-cases/case.ts";
import { cases } from "./builtin-cases.ts";

const OUTPUT = new URL("../fixtures/kubernetes/builtins.json", import.meta.url);
const NAMESPACE = "builtins";
/** Above this, an object is cut out of the fixture. */
const TEXT_MAX = 100_000;

const [, , kubeconfig = ""] = process.argv;
const config = parse(readFileSync(kubeconfig, "utf8"));
const { server, "certificate-authority": authority } = config.clusters[0].cluster;
const dispatcher = new Agent({ connect: { ca: readFileSync(authority, "utf8") } });

async function call(method: string, path: string, body?: JsonObject): Promise<JsonObject> {
  const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const response = await request(`${server}${path}`, {
    method,
    dispatcher,
    headers: { authorization: `Bearer ${config.users[0].user.token}`, "content-type": type },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return (await response.body.json()) as JsonObject;
}

/** The object, or why there is none. */
function answerOf(response: JsonObject): JsonObject {
  if (response["kind"] !== "Status" || response["status"] !== "Failure") {
    return { result: normalAnswer(response) };
  }
  const { code, reason, message, details } = response;
  const causes = isObject(details) ? details["causes"] : undefined;
  const status = { code, reason, message, ...(causes === undefined ? {} : { causes }) };
  return { status } as unknown as JsonObject;
}

async function tried(path: string, update: Update): Promise<JsonObject> {
  const place = update.subresource === undefined ? path : `${path}/${update.subresource}`;
  const response =
    update.put === undefined
      ? await call("PATCH", `${place}?dryRun=All`, update.patch)
      : await call("PUT", `${place}?dryRun=All`, update.put);
  return { ...(update as unknown as JsonObject), answer: answerOf(response) };
}

/** The object as another API shows it: an Event of the other group, or the Scale of a workload. */
async function twinOf(path: string, kind: Kind): Promise<JsonObject | undefined> {
  if (kind.kind === "Event") {
    const [core, events] = ["/api/v1/", "/apis/events.k8s.io/v1/"];
    return call("GET", kind.group === "" ? path.replace(core, events) : path.replace(events, core));
  }
  return kind.subresources.includes("scale") ? call("GET", `${path}/scale`) : undefined;
}

/** The labels that field selectors of a kind may use, out of all that any kind knows. */
async function fieldLabels(kind: Kind): Promise<string[]> {
  const root = kind.group === "" ? "/api/v1" : `/apis/${kind.group}/${kind.version}`;
  const supported: string[] = [];
  for (const label of allLabels) {
    const answer = await call("GET", `${root}/${kind.plural}?limit=1&fieldSelector=${label}%3Dx`);
    if (answer["kind"] !== "Status") supported.push(label);
  }
  return supported;
}

const allLabels = [...new Set(builtinKinds().flatMap(fieldLabelsOf)), "spec.replicas"].sort();
const kinds = new Map(builtinKinds().map((kind) => [kindKey(kind), kind]));
await call("POST", "/api/v1/namespaces", { metadata: { name: NAMESPACE } });
const lines: string[] = [];
let count = 0;
for (const { kind: key, object, updates } of cases) {
  const kind = kinds.get(key);
  if (kind === undefined) throw new Error(`no kind ${key}`);
  const root = kind.group === "" ? "/api/v1" : `/apis/${kind.group}/${kind.version}`;
  const path = `${root}${kind.namespaced ? `/namespaces/${NAMESPACE}` : ""}/${kind.plural}`;
  const apiVersion = kind.group === "" ? "v1" : `${kind.group}/v1`;
  const body = { apiVersion, kind: kind.kind, ...object };
  // A Service that is only tried gets whatever it asks for.
  const isKept = updates !== undefined || kind.kind === "Service";
  const created = await call("POST", isKept ? path : `${path}?dryRun=All`, body);
  const answers: Json[] = [];
  let twin: JsonObject | undefined;
  const { metadata } = created;
  if (isKept && isObject(metadata) && typeof metadata["name"] === "string") {
    const own = `${path}/${metadata["name"]}`;
    twin = await twinOf(own, kind);
    const version = { resourceVersion: metadata["resourceVersion"] ?? "" };
    for (const update of updates ?? []) {
      const put = update.put;
      const at = { ...(isObject(put?.["metadata"]) ? put["metadata"] : {}), ...version };
      const sent =
        put === undefined ? update : { put: { apiVersion, kind: kind.kind, ...put, metadata: at } };
      const answer = await tried(own, sent);
      answers.push({ ...(update as unknown as JsonObject), answer: answer["answer"] ?? null });
    }
    await call("PATCH", own, { metadata: { finalizers: null } });
    await call("DELETE", `${own}?gracePeriodSeconds=0`);
    // There is no controller that would empty it.
    if (kind.kind === "Namespace") await call("PUT", `${own}/finalize`, { ...body, spec: {} });
  }
  count += 1 + answers.length;
  const line = JSON.stringify({
    kind: key,
    object,
    answer: answerOf(created),
    ...(twin === undefined ? {} : { twin: normalAnswer(twin) }),
    ...(updates === undefined ? {} : { updates: answers }),
    // The range of addresses is another one there.
  }).replaceAll("10.96.", "127.96.");
  if (line.length < TEXT_MAX) lines.push(line);
}
const labels: string[] = [];
for (const [key, kind] of kinds) {
  labels.push(`${JSON.stringify(key)}:${JSON.stringify(await fieldLabels(kind))}`);
}
const comment =
  "Objects of built-in kinds, and what kube-apiserver 1.34.4 made of them: the object (without what differs from run to run) or the refusal; then of changes to them. twin: the same Event in the other group, or the Scale. fieldLabels: what field selectors may name.";
writeFileSync(
  OUTPUT,
  `{"comment":${JSON.stringify(comment)},\n"cases":[\n${lines.join(",\n")}\n],\n"fieldLabels":{\n${labels.join(",\n")}\n}}\n`,
);
console.log(`${count} answers`);
await dispatcher.close();
