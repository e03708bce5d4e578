import { describe } from "node:test";
import { applyTests } from "./apply.ts";
import { clientGoTests } from "./client-go.ts";
import { clientNodeTests } from "./client-node.ts";
import { definitionTests } from "./definitions.ts";
import { deleteTests } from "./delete.ts";
import { discoveryTests } from "./discovery.ts";
import { errorTests } from "./errors.ts";
import { garbageTests } from "./garbage.ts";
import { kindTests } from "./kinds.ts";
import { kubectlTests } from "./kubectl-walk.ts";
import { listTests } from "./lists.ts";
import { metadataTests } from "./metadata.ts";
import { modelAdapterTests } from "./model-adapter.ts";
import { namespaceTests } from "./namespaces.ts";
import { openApiTests } from "./openapi.ts";
import { optionTests } from "./options.ts";
import { patchTests } from "./patch.ts";
import { representationTests } from "./representations.ts";
import { subresourceTests } from "./subresources.ts";
import type { Target } from "./target.ts";
import { watchTests } from "./watch.ts";
import { webhookTests } from "./webhooks.ts";

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
  delete: deleteTests,
  lists: listTests,
  options: optionTests,
  representations: representationTests,
  discovery: discoveryTests,
  OpenAPI: openApiTests,
  definitions: definitionTests,
  namespaces: namespaceTests,
  webhooks: webhookTests,
  kubectl: kubectlTests,
  "@kubernetes/client-node": clientNodeTests,
  "client-go": clientGoTests,
  "garbage collection": garbageTests,
};

/** Enough to keep a server busy while some tests wait; each test has a world of its own. */
const CONCURRENCY = 12;

/** Registers all tests; what they expect is the same of every target. */
export function conformanceTests(target: Target): void {
  for (const [name, register] of Object.entries(THEMES)) {
    describe(name, { concurrency: CONCURRENCY }, () => register(target));
  }
}
