/** Builds the programs of a real Kubernetes API from their Go modules. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { UserError } from "#base/errors.ts";

/** The release that the embedded API has to be indistinguishable from. */
export const KUBE_VERSION = "1.34.4";
const STAGING_VERSION = `v0.${KUBE_VERSION.slice(2)}`;
const KUBE_MODULE = "k8s.io/kubernetes";
/**
 * Before 3.4.25 (Debian has 3.4.23) etcd cannot be asked how far a watch is, and without that
 * kube-apiserver refuses watches with bookmarks.
 */
const ETCD_MODULE = "go.etcd.io/etcd/server/v3";
const ETCD_VERSION = "v3.6.5";
const OUTPUT_LINES = 20;

/** The three programs, as absolute paths. */
export interface KubePrograms {
  readonly etcd: string;
  readonly apiServer: string;
  /** The garbage collector of kube-controller-manager as its own small program. */
  readonly garbageCollector: string;
}

const API_SERVER_GO = `package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
`;

const ETCD_GO = `package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
`;

const GARBAGE_COLLECTOR_GO = `// The garbage collector of kube-controller-manager, and nothing else of it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

const (
	workers       = 20
	resyncSeconds = 2
)

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		panic(err)
	}
	// The default of 20 requests a second would be the tests' clock.
	config.QPS, config.Burst = 400, 800
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client := kubernetes.NewForConfigOrDie(config)
	metadataClient := metadata.NewForConfigOrDie(config)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	typed := informers.NewSharedInformerFactory(client, 0)
	untyped := metadatainformer.NewSharedInformerFactory(metadataClient, 0)
	started := make(chan struct{})
	collector, err := garbagecollector.NewGarbageCollector(ctx, client, metadataClient, mapper,
		garbagecollector.DefaultIgnoredResources(), informerfactory.NewInformerFactory(typed, untyped), started)
	if err != nil {
		panic(err)
	}
	// How soon a new CustomResourceDefinition's objects are looked after.
	go collector.Sync(ctx, client.Discovery(), resyncSeconds*time.Second)
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	close(started)
	collector.Run(ctx, workers, 30*time.Second)
}
`;

/** Where the programs are kept: outside the repository, since they take minutes to build. */
export function kubeCache(env: NodeJS.ProcessEnv): string {
  const named = env["LORADOCK_KUBE_CACHE"];
  if (named) return named;
  const caches = env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(caches, "loradock", `kube-${KUBE_VERSION}`);
}

/**
 * Builds whatever of the programs the cache folder lacks, and resolves to their paths at once when
 * it lacks nothing. Needs Go.
 */
export function buildKube(cache: string, say: (line: string) => void): KubePrograms {
  const bin = join(cache, "bin");
  mkdirSync(bin, { recursive: true });
  const programs = {
    etcd: join(bin, "etcd"),
    apiServer: join(bin, "kube-apiserver"),
    garbageCollector: join(bin, "kube-gc"),
  };
  if (!existsSync(programs.etcd)) goBuild(etcdSource(cache), ".", programs.etcd, say);
  if (!existsSync(programs.apiServer) || !existsSync(programs.garbageCollector)) {
    const source = prepareSource(cache, say);
    goBuild(source, ".", programs.apiServer, say);
    goBuild(source, "./gc", programs.garbageCollector, say);
  }
  return programs;
}

/** A Go module that builds etcd. */
function etcdSource(cache: string): string {
  const source = join(cache, "etcd");
  mkdirSync(source, { recursive: true });
  const lines = ["module loradock/etcd", "go 1.24.0", `require ${ETCD_MODULE} ${ETCD_VERSION}`, ""];
  writeFileSync(join(source, "go.mod"), lines.join("\n"));
  writeFileSync(join(source, "main.go"), ETCD_GO);
  return source;
}

/** A Go module that builds both programs from the published modules of Kubernetes. */
function prepareSource(cache: string, say: (line: string) => void): string {
  const source = join(cache, "source");
  mkdirSync(join(source, "gc"), { recursive: true });
  say(`fetching the Go module ${KUBE_MODULE} v${KUBE_VERSION}`);
  const download = JSON.parse(
    run("go", ["mod", "download", "-json", `${KUBE_MODULE}@v${KUBE_VERSION}`], source),
  );
  // Kubernetes' own go.mod takes its staging repositories from its tree, which modules do not have.
  const staging = readFileSync(download.GoMod, "utf8").matchAll(/^\s*(k8s\.io\/\S+) v0\.0\.0$/gm);
  const replaced = [...new Set([...staging].map((match) => match[1]))];
  const patched = join(source, "kubernetes");
  writeFileSync(
    join(source, "go.mod"),
    [
      "module loradock/kube",
      "go 1.24.0",
      `require ${KUBE_MODULE} v${KUBE_VERSION}`,
      `replace ${KUBE_MODULE} => ./kubernetes`,
      ...replaced.map((name) => `replace ${name} => ${name} ${STAGING_VERSION}`),
      "",
    ].join("\n"),
  );
  writeFileSync(join(source, "main.go"), API_SERVER_GO);
  writeFileSync(join(source, "gc/main.go"), GARBAGE_COLLECTOR_GO);
  rmSync(patched, { recursive: true, force: true });
  cpSync(download.Dir, patched, { recursive: true });
  allowLoopback(join(patched, "pkg/apis/core/validation/validation.go"));
  return source;
}

/** Pods of a single machine live on 127.x.y.z, which stock Kubernetes refuses as an endpoint. */
function allowLoopback(file: string): void {
  const text = readFileSync(file, "utf8");
  const check = "if ip.IsLoopback() {";
  if (text.split(check).length !== 2) throw new Error(`bug: ${file} is not as expected`);
  // Modules are unpacked read-only.
  chmodSync(file, 0o644);
  writeFileSync(file, text.replace(check, "if false && ip.IsLoopback() {"));
}

function goBuild(source: string, name: string, target: string, say: (line: string) => void): void {
  say(`building ${target} (minutes the first time)`);
  const version = "k8s.io/component-base/version";
  const [major, minor] = KUBE_VERSION.split(".");
  const values = {
    gitVersion: `v${KUBE_VERSION}`,
    gitMajor: major,
    gitMinor: minor,
    gitTreeState: "clean",
    gitCommit: "module",
    buildDate: "2026-01-01T00:00:00Z",
  };
  const stamps = Object.entries(values).map(([key, value]) => `-X ${version}.${key}=${value}`);
  const unfinished = `${target}.unfinished`;
  run("go", ["build", "-ldflags", ["-s -w", ...stamps].join(" "), "-o", unfinished, name], source);
  publish(unfinished, target);
}

/** A program appears under its name only when it is whole. */
function publish(from: string, to: string): void {
  renameSync(from, to);
  chmodSync(to, 0o755);
}

function run(command: string, args: readonly string[], cwd: string): string {
  const result = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    env: {
      ...process.env,
      GOFLAGS: "-mod=mod -buildvcs=false",
      GOTOOLCHAIN: "local",
      CGO_ENABLED: "0",
    },
  });
  if (result.error !== undefined)
    throw new UserError(`${command} cannot be started: is it installed?`, { cause: result.error });
  if (result.status !== 0) {
    const words = result.stderr.trim().split("\n").slice(-OUTPUT_LINES).join("\n");
    throw new UserError(`${command} ${args[0]} failed: ${words}`);
  }
  return result.stdout;
}
