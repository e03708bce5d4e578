/** The node of a single machine as a process: runs an API server's pods as local processes. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { UserError } from "#base/errors.ts";
import { parseChoice, parsePort } from "#cli/parse.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { kubeletTokenFile } from "#local/kubelet-token.ts";
import { chooseEngine, ENGINES } from "#local/pods/engine-choice.ts";
import { makeFolder } from "#local/pods/files.ts";
import { runNode } from "#local/run-node.ts";
import { parentGone } from "#local/supervise.ts";
import { createLog } from "#telemetry/log.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

const USAGE = `Usage: node src/main/kubelet.ts [options]

Runs the pods of an API server as processes of this machine, each on an address of its own below
127.20.0.0/16, with the controllers of Deployments, ReplicaSets and EndpointSlices and the ports of
Services.

Options:
  --state-dir <folder>   where pods' files, logs and records lie (default: .loradock)
  --kubeconfig <file>    how to reach the API server (default: KUBECONFIG, ~/.kube/config)
  --node-name <name>     name of the Node (default: loradock)
  --port <number>        port on 127.0.0.1 for logs and exec, 0 takes a free one (default: 0)
  --token-file <file>    bearer token of that port, made when absent (default: <state-dir>/kubelet-token)
  --engine <name>        built-in or vllm, what engine images run (env: LORADOCK_ENGINE)
  --env <NAME=value>     a variable for every container; may be repeated
  --with-parent          stop when stdin ends, which is when a supervisor has gone
  --log-format <form>    text (klog's form) or json (default: text)
  --help                 show this
`;
/** Variables of this machine that containers get too: programs must be found and have a home. */
const INHERITED = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "NODE_COMPILE_CACHE"];

function variable(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw new UserError(`--env: '${text}' is not NAME=value`);
  return [text.slice(0, at), text.slice(at + 1)];
}

await runProcess("kubelet", async (signal) => {
  const { values } = parseArgs({
    options: {
      "state-dir": { type: "string", default: ".loradock" },
      kubeconfig: { type: "string" },
      "node-name": { type: "string", default: "loradock" },
      port: { type: "string", default: "0" },
      "token-file": { type: "string" },
      engine: { type: "string", default: process.env["LORADOCK_ENGINE"] || "built-in" },
      env: { type: "string", multiple: true, default: [] },
      "with-parent": { type: "boolean", default: false },
      "log-format": { type: "string", default: "text" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const stateDir = resolve(values["state-dir"]);
  makeFolder(stateDir);
  const format = parseChoice("--log-format", ["text", "json"])(values["log-format"]);
  const config = await loadKubeConfig({
    kubeconfigPath: values.kubeconfig,
    env: process.env,
    clock,
  });
  const inherited = INHERITED.map((name) => [name, process.env[name]] as const);
  await runNode(
    {
      config,
      clock,
      log: createLog({ format, clock, component: "kubelet" }),
      stateDir,
      nodeName: values["node-name"],
      version: "v1.34.0+loradock",
      entries: import.meta.dirname,
      node: process.execPath,
      defaults: Object.fromEntries([
        ...inherited.filter((entry): entry is [string, string] => !!entry[1]),
        ...values.env.map(variable),
      ]),
      engine: chooseEngine(parseChoice("--engine", ENGINES)(values.engine), process.env["PATH"]),
      port: parsePort("--port")(values.port),
      tokenFile: values["token-file"] ?? kubeletTokenFile(stateDir),
    },
    values["with-parent"] ? AbortSignal.any([signal, parentGone(process.stdin)]) : signal,
  );
  return 0;
});
