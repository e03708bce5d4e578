import { after, before, describe } from "node:test";
import { phaseTests } from "./phases.ts";
import type { Controller, Stage } from "./stage.ts";

/** Most tests wait for something: a dozen at once keep two processors busy. */
const CONCURRENCY = 16;

/** Registers all tests; what they expect is the same of every target. */
export function controllerTests(stage: Stage): void {
  describe("the controller", () => {
    let controller: Controller | undefined;
    before(async () => {
      controller = await stage.start("--leader-elect");
      await controller.ready();
    });
    after(() => controller?.stop());
    describe("phases", { concurrency: CONCURRENCY }, () => phaseTests(stage));
  });
}
