import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { UserError } from "#base/errors.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { type CommandEntry, runCli } from "./cli.ts";
import type { Command } from "./command.ts";
import { controllerCommand, leaderIdentity, parseControllers } from "./commands/controller.ts";
import {
  parseBoolean,
  parseChoice,
  parseDurationMs,
  parseInteger,
  parsePort,
  parseRate,
} from "./parse.ts";

/** Runs `argv` over one command, and returns what it printed and the options that it got. */
async function cli(argv: string[], env: Record<string, string> = {}) {
  let got: Record<string, unknown> | undefined;
  const run = async (options: Record<string, unknown>) => {
    got = options;
  };
  const serve: Command = {
    name: "serve",
    summary: "serve things",
    options: [
      {
        flags: "--port <port>",
        description: "where",
        default: "80",
        parse: parsePort("--port"),
        env: "PORT",
      },
      {
        flags: "--leader-elect [boolean]",
        description: "elect",
        default: "false",
        parse: parseBoolean("--leader-elect"),
      },
      { flags: "--name <name>", description: "who" },
    ],
    run,
  };
  const entries: CommandEntry[] = [
    { name: "serve", summary: "serve things", load: async () => serve },
    {
      name: "controller",
      summary: "the controller's flags",
      load: async () => ({ ...controllerCommand, run }),
    },
    { name: "other", summary: "is never loaded", load: () => Promise.reject(new Error("loaded")) },
    { name: "inner", summary: "for others", hidden: true, load: async () => serve },
  ];
  const stdout = new PassThrough();
  const printed = text(stdout);
  const context = {
    env,
    signal: new AbortController().signal,
    clock: systemClock,
    stdout,
    stderr: new PassThrough(),
    cwd: "/",
    exitCode: 0,
  };
  try {
    await runCli(entries, argv, "1.2.3", context);
  } finally {
    stdout.end();
  }
  return { options: got, printed: await printed };
}

test("a flag beats the environment, which beats the default; an empty variable counts as unset", async () => {
  const options = async (...args: Parameters<typeof cli>) => (await cli(...args)).options;
  assert.deepEqual(await options(["serve"]), { port: 80, leaderElect: false });
  assert.deepEqual(await options(["serve"], { PORT: "81" }), { port: 81, leaderElect: false });
  assert.deepEqual(await options(["serve"], { PORT: "" }), { port: 80, leaderElect: false });
  const both = await options(["serve", "--port=82", "--name", "a"], { PORT: "81" });
  assert.deepEqual(both, { port: 82, leaderElect: false, name: "a" });
});

test("booleans are given as Go programs take them", async () => {
  const elect = async (...args: string[]) =>
    (await cli(["serve", ...args])).options?.["leaderElect"];
  assert.equal(await elect("--leader-elect"), true);
  assert.equal(await elect("--leader-elect", "--port=1"), true);
  assert.equal(await elect("--leader-elect=true"), true);
  assert.equal(await elect("--leader-elect=false"), false);
});

test("every command has --help; the list leaves out what only processes start", async () => {
  const list = (await cli([])).printed;
  assert.match(list, /serve +serve things/);
  assert.doesNotMatch(list, /for others/);
  assert.equal((await cli(["--help"])).printed, list);
  assert.match((await cli(["serve", "--help"])).printed, /--port <port> +where \(env: PORT\)/);
  assert.doesNotMatch((await cli(["serve", "--help"])).printed, /preset/);
  assert.equal((await cli(["--version"])).printed, "1.2.3\n");
});

test("what cannot be understood is one sentence", async () => {
  const refused: [string[], RegExp][] = [
    [["serv"], /^unknown command 'serv' \(did you mean serve\?\); see loradock --help$/],
    [["serve", "--prt=1"], /^unknown option '--prt=1'.*; see loradock serve --help$/],
    [["serve", "more"], /^too many arguments.*got 1: more; see loradock serve --help$/],
    [["serve", "--port=http"], /--port: 'http' is not a port/],
    [["serve", "--leader-elect=maybe"], /use --leader-elect=true or --leader-elect=false/],
  ];
  for (const [argv, why] of refused) {
    await assert.rejects(
      cli(argv),
      (error) => error instanceof UserError && why.test(error.message),
    );
  }
});

test("durations, numbers and choices name the flag when they are wrong", () => {
  const ms = parseDurationMs("--d");
  assert.deepEqual(["15s", "1m30s", "500ms", "1.5h"].map(ms), [15_000, 90_000, 500, 5_400_000]);
  for (const bad of ["", "15", "1d", "s"]) assert.throws(() => ms(bad), /--d: .*15s/);
  assert.equal(parseInteger("--n", 1)("20"), 20);
  assert.throws(() => parseInteger("--n", 1)("0"), /--n: .*at least 1/);
  assert.throws(() => parsePort("--p")("65536"), /--p/);
  assert.throws(() => parsePort("--p", 1)("0"), /--p: '0' is not a port; use a number from 1/);
  assert.equal(parseChoice("--f", ["text", "json"])("json"), "json");
  assert.throws(() => parseChoice("--f", ["text", "json"])("xml"), /--f: 'xml'.*text or json/);
});

test("the controller takes each flag of AIBrix's manager", async () => {
  const flags = [
    ...["--kubeconfig=/k", "--leader-elect", "--leader-election-namespace=n"],
    ...["--leader-election-id=i", "--leader-election-lease-duration=15s"],
    ...["--leader-election-renew-deadline=10s", "--leader-election-resource-lock=leases"],
    ...["--health-probe-bind-address=:8081", "--metrics-bind-address=0", "--metrics-secure=false"],
    ...["--enable-runtime-sidecar", "--enable-http2=false", "--kube-api-qps=20"],
    ...[
      "--kube-api-burst=100",
      "--controllers=*",
      "--model-adapter-scheduler-policy=leastAdapters",
    ],
    ...["--disable-webhook", "--debug-mode"],
  ];
  const { options } = await cli(["controller", ...flags]);
  assert.equal(options?.["debugMode"], true);
  assert.equal(options?.["enableRuntimeSidecar"], true);
  assert.equal(options?.["metricsSecure"], false);
  assert.equal(options?.["controllers"], true);
  assert.equal(options?.["modelAdapterSchedulerPolicy"], "least-adapters");
});

test("the controller for ModelAdapters runs unless the list of controllers leaves it out", () => {
  for (const list of ["*", "model-adapter-controller", "kv-cache-controller, *"]) {
    assert.equal(parseControllers(list), true, list);
  }
  for (const list of ["*,-model-adapter-controller", "pod-autoscaler-controller"]) {
    assert.equal(parseControllers(list), false, list);
  }
  assert.throws(
    () => parseControllers("*,model-adapters"),
    /'model-adapters' is not known; use \*/,
  );
});

test("a rate is any number, and none above 0 is no limit", () => {
  assert.equal(parseRate("--q")("0.5"), 0.5);
  for (const text of ["0", "-1"]) assert.equal(parseRate("--q")(text), Number.POSITIVE_INFINITY);
  assert.throws(() => parseRate("--q")("many"), /--q: 'many' is not a number/);
});

test("a controller's container that is started again is the same candidate for the lease", () => {
  const env = { POD_NAME: "manager-0", POD_UID: "u-1" };
  assert.equal(leaderIdentity(env), "manager-0_u-1");
  // Without a uid two processes can have one name: they must not take each other's lease.
  for (const other of [{ POD_NAME: "manager-0" }, { POD_UID: "u-1" }, {}]) {
    assert.notEqual(leaderIdentity(other), leaderIdentity(other));
  }
});
