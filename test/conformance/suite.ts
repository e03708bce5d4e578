import { describe } from "node:test";
import { applyTests } from "./apply.ts";
import { errorTests } from "./errors.ts";
import { kindTests } from "./kinds.ts";
import { metadataTests } from "./metadata.ts";
import { modelAdapterTests } from "./model-adapter.ts";
import { patchTests } from "./patch.ts";
import { subresourceTests } from "./subresources.ts";
import type { Target } from "./target.ts";
import { watchTests } from "./watch.ts";

type Theme = (target: Target) => void;

const THEMES: Readonly<Record<string, Theme>> = {
  kinds: kindTests,
  errors: errorTests,
  metadata: metadataTests,
  ModelAdapter: modelAdapterTests,
  patch: patchTests,
  subresources: subresourceTests,
  "server-side apply": applyTests,
  watch: watchTests,
};

/** Enough to keep a server busy while some tests wait; each test has a world of its own. */
const CONCURRENCY = 12;

/** Registers all tests; what they expect is the same of every target. */
export function conformanceTests(target: Target): void {
  for (const [name, register] of Object.entries(THEMES)) {
    describe(name, { concurrency: CONCURRENCY }, () => register(target));
  }
}
