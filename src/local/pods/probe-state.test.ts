import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  afterProbe,
  hasFailed,
  initialProbeState,
  type ProbeKind,
  timingOf,
} from "./probe-state.ts";

function play(kind: ProbeKind, results: string, probe = {}) {
  const timing = timingOf(probe);
  let state = initialProbeState(kind);
  let verdicts = "";
  for (const result of results) {
    state = afterProbe(state, result === "+", timing);
    verdicts += state.passing ? "+" : "-";
  }
  return { verdicts, failed: hasFailed(state, timing) };
}

describe("probe state", () => {
  it("has Kubernetes' defaults", () => {
    assert.deepEqual(timingOf({}), {
      initialDelayMs: 0,
      periodMs: 10_000,
      timeoutMs: 1_000,
      successThreshold: 1,
      failureThreshold: 3,
    });
  });
  it("becomes ready with the first success and unready with the third failure in a row", () => {
    assert.equal(play("readiness", "--+--+---+").verdicts, "--++++++-+");
  });
  it("counts live until failureThreshold failures in a row", () => {
    assert.deepEqual(play("liveness", "--+--"), { verdicts: "+++++", failed: false });
    assert.deepEqual(play("liveness", "--+---"), { verdicts: "+++++-", failed: true });
  });
  it("gives up on a startup only at its threshold", () => {
    assert.equal(play("startup", "----", { failureThreshold: 5 }).failed, false);
    assert.equal(play("startup", "-----", { failureThreshold: 5 }).failed, true);
    assert.equal(play("startup", "----+", { failureThreshold: 5 }).verdicts, "----+");
  });
  it("asks for successThreshold successes in a row", () => {
    assert.equal(play("readiness", "++-+++", { successThreshold: 3 }).verdicts, "-----+");
  });
});
