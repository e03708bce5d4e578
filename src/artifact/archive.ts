import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32, createGunzip, createInflateRaw } from "node:zlib";
import { extract as extractTar, type Header } from "tar-stream";
import { type Entry, getFileNameLowLevel, openPromise, type ZipFile } from "yauzl";
import { ArtifactError, isNoSpace } from "./errors.ts";
import { memberPath } from "./member-path.ts";

export interface ArchiveLimits {
  /** Bytes of all members together. */
  readonly unpackedBytesMax: number;
  readonly membersMax: number;
}

/** Weights hardly compress; what grows more than this beyond a first allowance is a bomb. */
const EXPANSION_MAX = 100;
const EXPANSION_FREE_BYTES = 64 << 20;

/**
 * Unpacks a tar, tar.gz or zip (told apart by their first bytes) into an empty folder.
 * @throws ArtifactError InvalidArtifact when it is damaged, too large, or has a member that is not a
 * plain file or folder inside `into`; then nothing of it may be used.
 */
export async function unpackArchive(
  archive: string,
  into: string,
  limits: ArchiveLimits,
  signal: AbortSignal,
): Promise<void> {
  const { size } = await stat(archive);
  const bytesMax = Math.min(limits.unpackedBytesMax, EXPANSION_FREE_BYTES + size * EXPANSION_MAX);
  const target = new UnpackTarget(into, bytesMax, limits.membersMax, signal);
  try {
    const magic = await firstBytes(archive, 4);
    if (magic.toString("latin1").startsWith("PK")) await unpackZip(archive, target);
    else await unpackTar(archive, magic[0] === 0x1f && magic[1] === 0x8b, target);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof ArtifactError || isNoSpace(error)) throw error;
    throw new ArtifactError(
      "InvalidArtifact",
      "The archive is damaged or not a tar, tar.gz or zip",
      {
        cause: error,
      },
    );
  }
  if (target.members === 0) throw new ArtifactError("InvalidArtifact", "The archive is empty");
}

async function firstBytes(path: string, count: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(count), 0, count, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Where members go: confined, counted, each name once. */
class UnpackTarget {
  members = 0;
  readonly signal: AbortSignal;
  readonly #into: string;
  readonly #membersMax: number;
  readonly #bytesMax: number;
  #bytes = 0;
  /** Kind of each name taken, as a file system that ignores case would compare them. */
  readonly #taken = new Map<string, "file" | "folder">();

  constructor(into: string, bytesMax: number, membersMax: number, signal: AbortSignal) {
    this.#into = into;
    this.#bytesMax = bytesMax;
    this.#membersMax = membersMax;
    this.signal = signal;
  }

  async folder(name: string): Promise<void> {
    const path = this.#admit(name, "folder");
    if (path !== "") await mkdir(join(this.#into, path), { recursive: true });
  }

  /** `steps`: where the content comes from, and what it passes on its way. */
  async file(name: string, steps: [Readable, ...Transform[]], signal: AbortSignal): Promise<void> {
    const target = join(this.#into, this.#admit(name, "file"));
    await mkdir(dirname(target), { recursive: true });
    // "wx": a name that exists already, by whatever trick, is an error and not followed.
    await pipeline([...steps, createWriteStream(target, { flags: "wx" })], { signal });
  }

  /** Counts what comes out of a decompressor, whatever the archive says about it. */
  counter(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#bytes += chunk.length;
        if (this.#bytes <= this.#bytesMax) return done(null, chunk);
        done(
          new ArtifactError(
            "InvalidArtifact",
            `The archive unpacks to more than ${this.#bytesMax} bytes`,
          ),
        );
      },
    });
  }

  #admit(name: string, kind: "file" | "folder"): string {
    if (++this.members > this.#membersMax) {
      throw new ArtifactError(
        "InvalidArtifact",
        `The archive has more than ${this.#membersMax} members`,
      );
    }
    const path = memberPath(name);
    if (path === "" && kind === "file") throw badMember(name, "has no name");
    const folded = path.normalize("NFC").toLowerCase();
    const parts = folded.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      if (this.#taken.get(parent) === "file") throw badMember(name, "lies below a file");
      this.#taken.set(parent, "folder");
    }
    const before = this.#taken.get(folded);
    if (before !== undefined && (before === "file" || kind === "file")) {
      throw badMember(name, "has a name that another member has already");
    }
    this.#taken.set(folded, kind);
    return path;
  }
}

function badMember(name: string, why: string): ArtifactError {
  return new ArtifactError(
    "InvalidArtifact",
    `The archive is refused: its member ${JSON.stringify(name.slice(0, 200))} ${why}`,
  );
}

async function unpackTar(archive: string, isGzip: boolean, target: UnpackTarget): Promise<void> {
  const extract = extractTar();
  const steps = isGzip ? [createGunzip()] : [];
  // Counted before it is taken apart: zeros behind the last member are work as well.
  const feeding = pipeline([createReadStream(archive), ...steps, target.counter(), extract], {
    signal: target.signal,
  });
  // The stream of a member does not end when the archive breaks off inside it.
  const broken = new AbortController();
  feeding.catch((error: unknown) => broken.abort(error));
  const signal = AbortSignal.any([target.signal, broken.signal]);
  try {
    for await (const entry of extract) {
      await unpackTarEntry(entry.header, Readable.from(entry), target, signal);
    }
  } catch (error) {
    throw broken.signal.aborted ? broken.signal.reason : error;
  }
  await feeding;
}

async function unpackTarEntry(
  header: Header,
  content: Readable,
  target: UnpackTarget,
  signal: AbortSignal,
): Promise<void> {
  switch (header.type) {
    case "directory":
      return target.folder(header.name);
    case "file":
    case "contiguous-file":
      return target.file(header.name, [content], signal);
    default:
      throw badMember(header.name, `is a ${header.type}, and only files and folders are unpacked`);
  }
}

const UNIX_TYPE_MASK = 0o170000;
const UNIX_FILE = 0o100000;
const UNIX_FOLDER = 0o040000;

async function unpackZip(archive: string, target: UnpackTarget): Promise<void> {
  // Names are decoded below, so that a bad one is refused in our words.
  const zip = await openPromise(archive, { lazyEntries: true, decodeStrings: false });
  try {
    for await (const entry of zip.eachEntry()) await unpackZipEntry(zip, entry, target);
  } finally {
    zip.close();
  }
}

const STORED = 0;
const DEFLATED = 8;

async function unpackZipEntry(zip: ZipFile, entry: Entry, target: UnpackTarget): Promise<void> {
  const { generalPurposeBitFlag, fileNameRaw, extraFields } = entry;
  const name = getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, extraFields, true);
  const unixType = (entry.externalFileAttributes >>> 16) & UNIX_TYPE_MASK;
  if (unixType !== 0 && unixType !== UNIX_FILE && unixType !== UNIX_FOLDER) {
    throw badMember(name, "is a link or a device, and only files and folders are unpacked");
  }
  if (name.endsWith("/")) return target.folder(name);
  if (entry.isEncrypted()) throw badMember(name, "is encrypted");
  const { compressionMethod: method } = entry;
  if (method !== STORED && method !== DEFLATED) {
    throw badMember(name, `is compressed by method ${method}, and only deflate is known`);
  }
  // Inflated here rather than by the library, whose own stream fails twice and checks no CRC.
  const raw = await zip.openReadStreamPromise(entry, { decodeFileData: false });
  const inflate = method === DEFLATED ? [createInflateRaw()] : [];
  const steps: [Readable, ...Transform[]] = [raw, ...inflate, target.counter(), checked(entry)];
  await target.file(name, steps, target.signal);
}

/** Passes bytes on, and fails at their end when they are not what the archive's directory says. */
function checked(entry: Entry): Transform {
  let crc = 0;
  let size = 0;
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      crc = crc32(chunk, crc);
      size += chunk.length;
      done(null, chunk);
    },
    flush: (done) => {
      const isSame = crc === entry.crc32 && size === entry.uncompressedSize;
      done(isSame ? null : new Error("a member does not match its checksum"));
    },
  });
}
