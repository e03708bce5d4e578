import { after, before, describe } from "node:test";
import { deletionTests } from "./deletion.ts";
import { engineTests } from "./engines.ts";
import { isolationTests } from "./isolation.ts";
import { leftoverTests } from "./leftovers.ts";
import { directTests, sidecarTests } from "./modes.ts";
import { operationTests } from "./operation.ts";
import { phaseTests } from "./phases.ts";
import { privilegeTests } from "./privilege.ts";
import { reasonTests } from "./reasons.ts";
import { repairTests } from "./repair.ts";
import { restartTests } from "./restarts.ts";
import { retryTests } from "./retries.ts";
import { schedulingTests } from "./scheduling.ts";
import type { Controller, Stage } from "./stage.ts";
import { troubleshootingTests } from "./troubleshooting.ts";
import { updateTests } from "./updates.ts";

/** Beside one another, under one controller, each in a world of its own. */
const THEMES = [
  // Those that take longest come first.
  retryTests,
  deletionTests,
  phaseTests,
  reasonTests,
  repairTests,
  leftoverTests,
  updateTests,
  isolationTests,
  engineTests,
  directTests,
];

/** Most tests wait for something: a dozen at once keep two processors busy. */
const CONCURRENCY = 16;
/** Each command of kubectl keeps one busy. */
const COMMANDS_CONCURRENCY = 6;

/** Registers all tests; what they expect is the same of every target. */
export function controllerTests(stage: Stage): void {
  describe("the controller", { concurrency: 1 }, () => {
    let controller: Controller | undefined;
    before(async () => {
      controller = await stage.start("--leader-elect");
      await controller.ready();
    });
    after(() => controller?.stop());
    describe("in all that it does", { concurrency: CONCURRENCY }, () => {
      for (const register of THEMES) register(stage);
    });
    describe("as its page tells", { concurrency: COMMANDS_CONCURRENCY }, () => {
      troubleshootingTests(stage);
    });
    // Hundreds of adapters at once: Events, which are told one after another, come late then.
    describe("in numbers", { concurrency: CONCURRENCY }, () => schedulingTests(stage));
  });
  restartTests(stage);
  sidecarTests(stage);
  operationTests(stage);
  privilegeTests(stage);
}
