import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { Container } from "#api/kubernetes.ts";
import { type ContainerPlace, commandOf, findExecutable } from "./container-command.ts";
import { chooseEngine } from "./engine-choice.ts";
import { findImage } from "./images.ts";

describe("commandOf", () => {
  const root = mkdtempSync(join(tmpdir(), "loradock-command-"));
  after(() => rmSync(root, { recursive: true, force: true }));
  const privateFolder = join(root, "private");
  const volume = join(root, "volume");

  function command(
    container: Partial<Container> & { image: string },
    more: Partial<ContainerPlace> = {},
  ) {
    const image = findImage(container.image);
    assert.ok(image);
    return commandOf({ name: "main", ...container }, image, {
      pod: { metadata: { name: "pod-1", namespace: "ns" }, spec: { containers: [] } },
      podAddress: "127.20.0.5",
      hostAddress: "127.0.0.1",
      nodeName: "loradock",
      mounts: [],
      privateFolder,
      programFolder: "/programs",
      defaults: { PATH: "/usr/bin", HF_ENDPOINT: "http://127.0.0.1:16480" },
      kubeconfig: "/pods/kubeconfig",
      allocatable: {},
      secret: () => undefined,
      configMap: () => undefined,
      ...more,
    });
  }

  it("tells a container its place and leaves the machine's own addresses alone", () => {
    const { argv, environment, workingDir } = command(
      {
        image: "loradock/loradock:1",
        command: ["sh", "-c", "curl http://localhost:8000/$(PORT) > /data/out"],
        env: [{ name: "PORT", value: "1" }],
      },
      { mounts: [{ mountPath: "/data", folder: volume }] },
    );
    assert.deepEqual(argv, ["sh", "-c", `curl http://127.20.0.5:8000/1 > ${volume}/out`]);
    assert.deepEqual(environment, {
      PATH: "/programs:/usr/bin",
      HF_ENDPOINT: "http://127.0.0.1:16480",
      HOSTNAME: "pod-1",
      TMPDIR: join(privateFolder, "tmp"),
      LORADOCK_BIND_ADDRESS: "127.20.0.5",
      KUBECONFIG: "/pods/kubeconfig",
      PORT: "1",
    });
    assert.equal(workingDir, privateFolder);
    assert.ok(existsSync(join(privateFolder, "tmp")));
  });

  it("never lets two sidecars share an adapters' folder", () => {
    const mounted = command(
      { image: "aibrix/runtime:v0.3.0" },
      {
        mounts: [
          { mountPath: "/tmp/aibrix/adapters", folder: volume },
          { mountPath: "/var/run/secrets/aibrix", folder: join(root, "keys") },
        ],
      },
    ).environment;
    assert.equal(mounted["AIBRIX_ADAPTER_DIR"], volume);
    assert.equal(mounted["AIBRIX_CREDENTIALS_DIR"], join(root, "keys"));
    const alone = command({ image: "aibrix/runtime:v0.3.0" }).environment;
    assert.equal(alone["AIBRIX_ADAPTER_DIR"], join(privateFolder, "tmp/aibrix/adapters"));
    assert.equal(alone["AIBRIX_CREDENTIALS_DIR"], undefined);
    const own = [{ name: "AIBRIX_ADAPTER_DIR", value: "/models" }];
    assert.equal(
      command({ image: "aibrix/runtime:v0.3.0", env: own }).environment["AIBRIX_ADAPTER_DIR"],
      "/models",
    );
  });

  it("finds the programs of images by their absolute names too", () => {
    const first = (container: Partial<Container> & { image: string }) => command(container).argv[0];
    assert.equal(first({ image: "aibrix/controller-manager:v1" }), "manager");
    assert.equal(first({ image: "loradock/x", command: ["/usr/local/bin/loradock"] }), "loradock");
    assert.equal(first({ image: "loradock/x", command: ["/bin/sh"] }), "/bin/sh");
  });

  it("works in a folder of the volume, of its own, or where it says", () => {
    const mounts = [{ mountPath: "/data", folder: volume }];
    const dir = (workingDir: string) =>
      command({ image: "loradock/x", workingDir }, { mounts }).workingDir;
    assert.equal(dir("/data/sub"), join(volume, "sub"));
    assert.equal(dir("/app"), join(privateFolder, "app"));
    assert.ok(existsSync(join(volume, "sub")));
  });

  it("finds executables as a shell does and says what is missing", () => {
    const bin = join(root, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, "tool"), "");
    assert.throws(
      () => findExecutable("tool", bin),
      /exec: "tool": executable file not found in \$PATH/,
    );
    chmodSync(join(bin, "tool"), 0o755);
    assert.equal(findExecutable("tool", `/none:${bin}`), join(bin, "tool"));
    assert.throws(() => findExecutable("/none/tool", bin), /"\/none\/tool": no such file/);
  });

  it("chooses real vLLM only when it is wanted and there", () => {
    const bin = join(root, "engines");
    mkdirSync(bin);
    assert.equal(chooseEngine("built-in", bin).from, "built-in");
    assert.deepEqual(chooseEngine("vllm", bin), {
      from: "built-in",
      why: "LORADOCK_ENGINE=vllm, but no vllm is on PATH",
    });
    writeFileSync(join(bin, "vllm"), "", { mode: 0o755 });
    assert.equal(chooseEngine("vllm", bin).from, "path");
  });
});
