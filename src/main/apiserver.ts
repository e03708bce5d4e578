/** The embedded Kubernetes API of a single machine as a process. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { UserError } from "#base/errors.ts";
import { parseChoice, parsePort } from "#cli/parse.ts";
import { startApiServer } from "#local/apiserver/api-server.ts";
import { kubeletTokenFile, readOrMakeToken } from "#local/kubelet-token.ts";
import { parentGone } from "#local/supervise.ts";
import { createLog } from "#telemetry/log.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

const USAGE = `Usage: node src/main/apiserver.ts [options]

Serves the Kubernetes API of a single machine, durable in <state-dir>/api.db, and writes the
administrator's <state-dir>/kubeconfig.

Options:
  --state-dir <folder>   where everything is kept (default: .loradock)
  --host <address>       where to listen (default: 127.0.0.1)
  --port <number>        where to listen, 0 takes a free port (default: 16443)
  --empty-namespaces     make no ServiceAccount 'default' and no ConfigMap 'kube-root-ca.crt' in namespaces,
                         like a Kubernetes API server without its controller manager
  --with-parent          stop when stdin ends, which is when a supervisor has gone
  --log-format <form>    text (klog's form) or json (default: text)
  --help                 show this
`;

const manifest = join(import.meta.dirname, "..", "..", "package.json");
const version: string = JSON.parse(readFileSync(manifest, "utf8")).version;

await runProcess("apiserver", async (stop) => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      "state-dir": { type: "string", default: ".loradock" },
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "16443" },
      "empty-namespaces": { type: "boolean", default: false },
      "with-parent": { type: "boolean", default: false },
      "log-format": { type: "string", default: "text" },
      help: { type: "boolean", default: false },
    },
  });
  if (positionals.length > 0)
    throw new UserError(`unknown argument '${positionals[0]}'; see --help`);
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const stateDir = resolve(values["state-dir"]);
  const signal = values["with-parent"] ? AbortSignal.any([stop, parentGone(process.stdin)]) : stop;
  const format = parseChoice("--log-format", ["text", "json"])(values["log-format"]);
  const log = createLog({ format, clock, component: "apiserver" });
  const server = await startApiServer(
    {
      stateDir,
      host: values.host,
      port: parsePort("--port")(values.port),
      clock,
      log,
      build: version,
      emptyNamespaces: values["empty-namespaces"],
      kubeletToken: () => readOrMakeToken(kubeletTokenFile(stateDir)),
    },
    signal,
  );
  log.info("The Kubernetes API is up", { url: server.url, kubeconfig: server.kubeconfig });
  await server.closed;
  return 0;
});
