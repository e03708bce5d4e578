import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Pod } from "#api/kubernetes.ts";
import {
  argvOf,
  findImage,
  type Image,
  repositoryOf,
  unknownImageMessage,
  withHost,
} from "./images.ts";

const pod: Pod = {
  metadata: { name: "p", labels: { "model.aibrix.ai/name": "qwen" } },
  spec: { containers: [] },
};

function image(name: string): Image {
  const found = findImage(name);
  assert.ok(found, name);
  return found;
}

describe("images", () => {
  const repositories: [string, string][] = [
    ["vllm/vllm-openai:v0.7.1", "vllm/vllm-openai"],
    ["vllm/vllm-openai", "vllm/vllm-openai"],
    ["docker.io/vllm/vllm-openai:v0.7.1", "vllm/vllm-openai"],
    ["registry.example:5000/aibrix/runtime@sha256:00", "aibrix/runtime"],
    ["localhost/loradock/gateway:1", "loradock/gateway"],
    ["busybox", "busybox"],
  ];
  for (const [name, repository] of repositories) {
    it(`reads ${name} as ${repository}`, () => assert.equal(repositoryOf(name), repository));
  }

  const roles: [string, string][] = [
    ["vllm/vllm-openai:v0.7.1", "engine"],
    ["vllm/vllm-openai-cpu:latest", "engine"],
    ["aibrix/runtime:v0.3.0", "sidecar"],
    ["loradock/runtime:0.1.0", "sidecar"],
    ["aibrix/controller-manager:v0.8.0", "controller"],
    ["loradock/loradock:0.1.0", "loradock"],
  ];
  for (const [name, role] of roles) {
    it(`knows ${name}`, () => assert.equal(image(name).role, role));
  }

  it("does not know other images and lists those that it does", () => {
    assert.equal(findImage("nginx:1.27"), undefined);
    assert.match(unknownImageMessage("nginx:1.27"), /"nginx:1\.27".*vllm\/vllm-openai\*.*loradock/);
  });

  it("gives a vllm server the pod's address unless it has one", () => {
    const host = (...argv: string[]) => withHost(argv, "127.20.0.1").slice(argv.length);
    assert.deepEqual(host("vllm", "serve", "m"), ["--host", "127.20.0.1"]);
    assert.deepEqual(host("/usr/bin/vllm", "serve"), ["--host", "127.20.0.1"]);
    assert.deepEqual(host("vllm", "serve", "--host", "127.20.0.1"), []);
    assert.deepEqual(host("vllm", "serve", "--host=127.20.0.1"), []);
    assert.deepEqual(host("vllm", "--version"), []);
    assert.deepEqual(host("sh", "-c", "vllm serve"), []);
  });

  const argvs: [string, { command?: string[]; args?: string[] }, string[]][] = [
    [
      "vllm/vllm-openai:v0.7.1",
      {},
      ["vllm", "serve", "--port", "8000", "--enable-lora", "--served-model-name", "qwen"],
    ],
    ["vllm/vllm-openai", { args: ["--model", "m"] }, ["vllm", "serve", "--model", "m"]],
    ["vllm/vllm-openai", { command: ["vllm", "serve", "m"] }, ["vllm", "serve", "m"]],
    [
      "vllm/vllm-openai",
      { command: ["python3", "-m", "vllm.entrypoints.openai.api_server"], args: ["--port", "1"] },
      ["vllm", "serve", "--port", "1"],
    ],
    ["aibrix/runtime:v0.3.0", {}, ["aibrix_runtime", "--port", "8080"]],
    ["aibrix/runtime", { command: ["sh", "-c"], args: ["env"] }, ["sh", "-c", "env"]],
    ["aibrix/controller-manager", { args: ["--leader-elect"] }, ["/manager", "--leader-elect"]],
    ["loradock/loradock", { args: ["gateway"] }, ["loradock", "gateway"]],
  ];
  for (const [name, container, argv] of argvs) {
    it(`runs ${name} ${JSON.stringify(container)}`, () => {
      assert.deepEqual(argvOf(image(name), container, pod), argv);
    });
  }
});
