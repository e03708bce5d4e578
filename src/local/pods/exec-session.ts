import type { Readable } from "node:stream";
import type { WebSocket } from "ws";
import type { KubeStatus } from "#api/kubernetes.ts";
import { messageOf } from "#base/errors.ts";
import type { ContainerExec } from "./container-exec.ts";

/** The newest first: v5 can say that stdin has ended. */
export const EXEC_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"] as const;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
/** v5 only: the byte after it names a channel that its sender has closed. */
const CLOSE = 255;
const NORMAL_CLOSURE = 1000;

type ExecStatus = Omit<KubeStatus, "kind" | "apiVersion">;

/** What the error channel says at the end of a command, as kubectl turns it into its own exit code. */
function statusOfExit(exitCode: number): ExecStatus {
  if (exitCode === 0) return { metadata: {}, status: "Success" };
  return {
    metadata: {},
    status: "Failure",
    reason: "NonZeroExitCode",
    message: `command terminated with non-zero exit code: exit status ${exitCode}`,
    details: { causes: [{ reason: "ExitCode", message: String(exitCode) }] },
  };
}

/** What the error channel says when a command could not be run at all. */
function statusOfFailure(error: unknown): ExecStatus {
  return {
    metadata: {},
    status: "Failure",
    reason: "InternalError",
    message: `Internal error occurred: ${messageOf(error)}`,
    code: 500,
  };
}

export interface ExecStreams {
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** A terminal has one output; we give no terminal, but keep to that. */
  readonly tty: boolean;
}

/**
 * Speaks the channel protocol of `kubectl exec` over an open WebSocket until the command has ended
 * or the client has gone, which ends the command. Never rejects.
 */
export async function serveExec(
  socket: WebSocket,
  start: () => ContainerExec,
  streams: ExecStreams,
): Promise<void> {
  let exec: ContainerExec;
  try {
    exec = start();
  } catch (error) {
    await finish(socket, statusOfFailure(error));
    return;
  }
  socket.on("message", (data: Buffer) => {
    if (data[0] === STDIN && data.length > 1) {
      // Kubernetes' protocol has no flow control for stdin either; a pipe that is full is waited for.
      if (exec.stdin?.write(data.subarray(1)) === false) {
        socket.pause();
        exec.stdin.once("drain", () => socket.resume());
      }
    } else if (data[0] === CLOSE && data[1] === STDIN) exec.stdin?.end();
  });
  const leave = () => exec.kill();
  socket.on("close", leave);
  socket.on("error", leave);
  const [exitCode] = await Promise.allSettled([
    exec.exitCode,
    pump(socket, exec.stdout, streams.stdout ? STDOUT : undefined),
    pump(
      socket,
      exec.stderr,
      streams.tty && streams.stdout ? STDOUT : streams.stderr ? STDERR : undefined,
    ),
  ]);
  socket.off("close", leave);
  await finish(
    socket,
    exitCode.status === "fulfilled"
      ? statusOfExit(exitCode.value)
      : statusOfFailure(exitCode.reason),
  );
}

/** Sends an output chunk by chunk, each when the one before is on its way; drains it when unwanted. */
async function pump(socket: WebSocket, output: Readable, channel: number | undefined) {
  for await (const chunk of output) {
    if (channel !== undefined) await send(socket, channel, chunk as Buffer);
  }
}

function send(socket: WebSocket, channel: number, data: Buffer): Promise<void> {
  return new Promise((resolve) => {
    // Nobody listens any more: the "close" event ends the command.
    if (socket.readyState !== socket.OPEN) resolve();
    else socket.send(Buffer.concat([Buffer.from([channel]), data]), () => resolve());
  });
}

async function finish(socket: WebSocket, status: ExecStatus): Promise<void> {
  await send(socket, ERROR, Buffer.from(JSON.stringify(status)));
  socket.close(NORMAL_CLOSURE);
}
