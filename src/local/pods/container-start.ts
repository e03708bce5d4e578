import type { Container } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf, UserError } from "#base/errors.ts";
import type { EventType } from "#kube/events.ts";
import { type ContainerCommand, findExecutable } from "./container-command.ts";
import type { ContainerRunner } from "./container-runner.ts";
import { findImage, type Image, unknownImageMessage } from "./images.ts";

/** An image that is not known will not become so by waiting, only by a new version of us. */
const IMAGE_RETRY_MS = 300_000;
/** What a container's environment or command lacks may have come after this time. */
const CONFIG_RETRY_MS = 10_000;

export interface StartContext {
  readonly clock: Clock;
  /** Records an Event about the pod. */
  readonly say: (type: EventType, reason: string, message: string) => void;
  readonly commandOf: (container: Container, image: Image) => ContainerCommand;
  /** What runs under the engine's name and why. */
  readonly engineNote: string;
}

/** Starts a container's next attempt, or notes why that cannot be; tells the story in Events. */
export async function startContainer(
  container: Container,
  runner: ContainerRunner,
  context: StartContext,
): Promise<void> {
  const { say } = context;
  const { name } = container;
  const block = (reason: string, message: string, pauseMs: number) =>
    runner.block({
      reason,
      message,
      retryAtMs: context.clock.now() + pauseMs,
      image: container.image ?? "",
    });

  const image = findImage(container.image ?? "");
  if (image === undefined) {
    const message = unknownImageMessage(container.image ?? "");
    say("Warning", "Failed", message);
    say("Warning", "Failed", "Error: ErrImagePull");
    say("Normal", "BackOff", `Back-off pulling image "${container.image}"`);
    block("ImagePullBackOff", message, IMAGE_RETRY_MS);
    return;
  }
  const isFirst = runner.seen().attempt < 0;
  let command: ContainerCommand;
  try {
    command = context.commandOf(container, image);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    block("CreateContainerConfigError", error.message, CONFIG_RETRY_MS);
    say("Warning", "Failed", `Error: ${error.message}`);
    return;
  }
  say("Normal", "Pulled", `Container image "${container.image}" already present on machine`);
  try {
    findExecutable(command.argv[0] ?? "", command.environment["PATH"]);
    await runner.start(command, container.image ?? "");
  } catch (error) {
    const why = `failed to start container "${name}": ${messageOf(error)}`;
    block("RunContainerError", why, CONFIG_RETRY_MS);
    say("Warning", "Failed", `Error: ${why}`);
    return;
  }
  say("Normal", "Created", `Created container: ${name}`);
  say("Normal", "Started", `Started container ${name}`);
  if (isFirst) tellDifferences(container, image, command, context);
}

/** What this machine does otherwise than a cluster, told once for each container. */
function tellDifferences(
  container: Container,
  image: Image,
  command: ContainerCommand,
  { say, engineNote }: StartContext,
): void {
  const { name, resources, imagePullPolicy } = container;
  if (image.role === "engine") say("Normal", "Engine", `Container ${name} runs ${engineNote}`);
  const ignored = Object.keys({ ...resources?.limits, ...resources?.requests });
  if (imagePullPolicy === "Always") ignored.push("imagePullPolicy Always");
  if (ignored.length > 0) {
    const list = ignored.join(", ");
    say("Normal", "NotEnforced", `Pods are local processes here; ignored for ${name}: ${list}`);
  }
  if (command.skippedNames.length > 0) {
    const keys = command.skippedNames.join(", ");
    const why = "were skipped since they are considered invalid environment variable names.";
    say("Warning", "InvalidEnvironmentVariableNames", `Keys [${keys}] ${why}`);
  }
}
