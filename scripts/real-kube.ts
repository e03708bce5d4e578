/**
 * A real Kubernetes API to measure ours against.
 *
 *   node scripts/real-kube.ts build        builds what the cache lacks
 *   node scripts/real-kube.ts up --dir <state folder> [--port 16510] [--etcd-port 12510]
 *   node scripts/real-kube.ts down --dir <state folder>
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { UserError } from "#base/errors.ts";
import { buildKube, kubeCache } from "./kube-build.ts";
import { startKube, stopKube } from "./kube-stack.ts";

const USAGE = "usage: node scripts/real-kube.ts build | up --dir <folder> | down --dir <folder>";

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      dir: { type: "string" },
      port: { type: "string", default: "16510" },
      "etcd-port": { type: "string", default: "12510" },
    },
  });
  const [command] = positionals;
  const build = () => buildKube(kubeCache(process.env), (line) => console.error(line));
  if (command === "build") {
    console.log(Object.values(build()).join("\n"));
    return;
  }
  if (values.dir === undefined) throw new UserError(USAGE);
  const dir = resolve(values.dir);
  if (command === "up") {
    const ports = { port: Number(values.port), etcdPort: Number(values["etcd-port"]) };
    const stack = await startKube({ programs: build(), dir, ...ports, detached: true });
    for (const child of stack.children) child.unref();
    console.log(`export KUBECONFIG=${stack.kubeconfig}`);
  } else if (command === "down") {
    console.log(stopKube(dir) ? "stopped" : "nothing was running");
  } else {
    throw new UserError(USAGE);
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(`real-kube: ${error.message}`);
  process.exitCode = 1;
}
