import assert from "node:assert/strict";
import { test } from "node:test";
import { timeOfDay } from "#base/clock.ts";
import { steadyClock, systemClock } from "./system-clock.ts";

const HOUR_MS = 3_600_000;

test("a steady clock goes on as before when the machine's clock is set, and still tells the time of day", () => {
  let setMs = 0;
  const clock = steadyClock({ ...systemClock, now: () => Date.now() + setMs });
  const isNear = (ms: number, wantedMs: number) => Math.abs(ms - wantedMs) < HOUR_MS / 10;
  const startMs = Date.now();
  for (const step of [HOUR_MS, -2 * HOUR_MS, 0]) {
    setMs = step;
    assert(isNear(clock.now(), startMs));
    assert(isNear(timeOfDay(clock), startMs + step));
    assert(isNear(timeOfDay(clock, clock.now() - HOUR_MS), startMs + step - HOUR_MS));
  }
});

test("a machine's clock that is kept right by a little at a time does not make what is told flicker", () => {
  let setMs = 0;
  const clock = steadyClock({ ...systemClock, now: () => Date.now() + setMs });
  for (setMs = -400; setMs < 400; setMs += 7) assert.equal(clock.offsetMs?.(), 0);
});
