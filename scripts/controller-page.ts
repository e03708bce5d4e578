/** The tables of docs/controller.md: of what is told, what can be set, what is counted and what is allowed, each from where it is defined. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { PHASES } from "#api/model-adapter.ts";
import {
  CONDITION,
  CONDITION_MEANING,
  type ConditionClaim,
  eventType,
  PHASE_MEANING,
  POD_STATE_MEANING,
  REASONS,
  type Reason,
} from "#api/reasons.ts";
import { controllerCommand } from "#cli/commands/controller.ts";
import { answerMeter, controllerMetrics, leadershipGauge } from "#controller/metrics.ts";
import { createMetrics, type Metrics } from "#telemetry/metrics.ts";

const RBAC_FILE = join(import.meta.dirname, "../deploy/controller/rbac.yaml");
const ADAPTER = { namespace: "default", name: "my-lora" };
const PODS = ["pod-1", "pod-2"];
const WHY = "…";

/** Every claim there is, with an example of its words. */
export const CLAIMS: readonly ConditionClaim[] = [
  CONDITION.initialized(),
  CONDITION.scheduled(ADAPTER, PODS),
  CONDITION.unscheduled("No pod can host the adapter: pod pod-1 is not Ready"),
  CONDITION.rescheduling("No pod can host the adapter: pod pod-1 is terminating"),
  CONDITION.loaded(["pod-1"]),
  CONDITION.loading(PODS),
  CONDITION.loadFailed(
    "ModelAdapterLoadingError",
    "pod pod-1: connection refused (retry 1 of 5 follows)",
  ),
  CONDITION.loadFailed("ValidationFailed", `pod pod-1: ${WHY}`),
  CONDITION.retriesExhausted("pod-1", "connection refused"),
  CONDITION.unloaded("No pod can host the adapter: pod pod-1 is not Ready"),
  CONDITION.bound(ADAPTER),
  CONDITION.unbound("ModelAdapterUnavailable", WHY),
  CONDITION.unbound("ServiceCreateError", `Service default/my-lora ${WHY}`),
  CONDITION.unbound("EndpointSliceCreateError", `EndpointSlice default/my-lora ${WHY}`),
  CONDITION.unbound("ModelAdapterLoadingError", `Loading failed on all pods: ${WHY}`),
  CONDITION.unbound("ValidationFailed", `Loading failed on all pods: ${WHY}`),
  CONDITION.ready(ADAPTER),
  CONDITION.unready("ModelAdapterUnavailable", WHY),
  CONDITION.unready("AdapterMigrating", "Moving from pod pod-1 to pod pod-2"),
  CONDITION.unready("ModelAdapterLoadingError", `Loading failed on all pods: ${WHY}`),
  CONDITION.unready("ValidationFailed", `Loading failed on all pods: ${WHY}`),
  CONDITION.unready("ServiceCreateError", `Service default/my-lora ${WHY}`),
  CONDITION.unready("EndpointSliceCreateError", `EndpointSlice default/my-lora ${WHY}`),
];

/** Why the controller needs what its role allows. */
const RIGHTS: Readonly<Record<string, string>> = {
  modeladapters: "read them; write the finalizer and the annotations about retries",
  "modeladapters/status": "write the status, and nothing else of it",
  "modeladapters/finalizers":
    "name an adapter as the owner that waits for its Service and EndpointSlice to go",
  pods: "know which pods match, are Ready and where they are",
  secrets: "read those that an adapter names, one by one; none is listed or watched",
  services:
    "publish each adapter under its name, and take that back when it goes; see whether somebody else has the name",
  endpointslices: "the same, with the pods that serve",
  events: "tell what happened; raise an Event's count",
  leases: "`--leader-elect`, in the controller's namespace alone",
  configmaps:
    "remember what must still be unloaded after a deletion, in the controller's namespace alone",
};

/** The tables by the name between whose markers they stand. */
export function controllerTables(): Readonly<Record<string, string>> {
  return {
    phases: table(
      ["phase", "when", "when it stays so"],
      PHASES.map((phase) => [`\`${phase}\``, PHASE_MEANING[phase].when, PHASE_MEANING[phase].cure]),
    ),
    conditions: table(
      ["condition", "is about", "status", "reason", "message"],
      CLAIMS.map(({ type, status, reason, message }, at) => {
        const isFirst = CLAIMS[at - 1]?.type !== type;
        const [name, about] = isFirst ? [`\`${type}\``, CONDITION_MEANING[type]] : ["", ""];
        return [name, about, status, `\`${reason}\``, message];
      }),
    ),
    reasons: table(
      ["reason", "on", "Event", "when", "what to do"],
      Object.entries(REASONS).map(([reason, { on, when, cure }]) => [
        `\`${reason}\``,
        on.join(", "),
        eventType(reason as Reason) ?? "",
        when,
        cure,
      ]),
    ),
    pods: table(
      ["state", "meaning"],
      Object.entries(POD_STATE_MEANING).map(([state, meaning]) => [`\`${state}\``, meaning]),
    ),
    flags: table(
      ["flag", "default", "meaning"],
      controllerCommand.options.map(({ flags, default: value, description }) => [
        `\`${flags}\``,
        value === undefined ? "" : `\`${value}\``,
        description,
      ]),
    ),
    metrics: table(["metric", "type", "labels", "meaning"], metricRows()),
    rights: table(["resource", "verbs", "why"], rightRows()),
  };
}

/** A page with the tables between its markers. */
export function withTables(page: string, tables: Readonly<Record<string, string>>): string {
  return Object.entries(tables).reduce((text, [name, rows]) => {
    const [begin, end] = [
      `<!-- begin ${name}: written by \`npm run generate\` -->`,
      `<!-- end ${name} -->`,
    ];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`the page has no marks ${begin} ... ${end}`);
    return `${text.slice(0, from)}${begin}\n${rows}\n${text.slice(to)}`;
  }, page);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---|").join("")}`, ...rows.map(line)].join("\n");
}

/** What the controller registers is noted on the way. */
function metricRows(): string[][] {
  const rows: string[][] = [];
  const real = createMetrics();
  type Made = { name: string; help: string; labels?: readonly string[] };
  const note = (type: string, { name, help, labels = [] }: Made) => {
    rows.push([`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), help]);
  };
  const noting: Metrics = {
    ...real,
    counter: (options) => {
      note("counter", options);
      return real.counter(options);
    },
    gauge: (options) => {
      note("gauge", options);
      return real.gauge(options);
    },
    histogram: (options) => {
      note("histogram", options);
      return real.histogram(options);
    },
  };
  controllerMetrics(noting, () => undefined);
  answerMeter(noting, "");
  leadershipGauge(noting, "", () => false);
  return rows.sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
}

function rightRows(): string[][] {
  type Rule = { resources: string[]; verbs: string[] };
  const rules = parseAllDocuments(readFileSync(RBAC_FILE, "utf8")).flatMap(
    (document): Rule[] => document.toJS().rules ?? [],
  );
  return rules.flatMap(({ resources, verbs }) =>
    resources.map((resource) => {
      const why = RIGHTS[resource];
      if (why === undefined) throw new Error(`nobody says why the controller needs ${resource}`);
      return [`\`${resource}\``, verbs.join(", "), why];
    }),
  );
}
