import { once } from "node:events";
import { crc32, deflateRawSync } from "node:zlib";
import { type Header, pack } from "tar-stream";

/** One member of a test archive; `type` and `mode` make the hostile ones. */
export interface Member {
  name: string;
  content?: Uint8Array | string;
  type?: Header["type"];
  linkname?: string;
}

/** A tar of the members, as they are: nothing is checked. */
export async function tarOf(members: readonly Member[]): Promise<Buffer> {
  const tar = pack();
  const chunks: Buffer[] = [];
  tar.on("data", (chunk) => chunks.push(chunk as Buffer));
  for (const { name, content = "", type = "file", linkname } of members) {
    const body = type === "file" ? Buffer.from(content) : Buffer.alloc(0);
    tar.entry({ name, type, ...(linkname === undefined ? {} : { linkname }) }, body);
  }
  tar.finalize();
  await once(tar, "end");
  return Buffer.concat(chunks);
}

const UNIX = 3 << 8;
const UTF8_NAMES = 0x800;

/** A zip of the members, deflated, names and types as they are. */
export function zipOf(members: readonly Member[]): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const { name, content = "", type = "file", linkname } of members) {
    const body = Buffer.from(type === "symlink" ? (linkname ?? "") : content);
    const packed = deflateRawSync(body);
    const path = Buffer.from(name, "utf8");
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(UTF8_NAMES, 2);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(body), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(body.length, 18);
    common.writeUInt16LE(path.length, 22);
    const head = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), common, path, packed]);
    local.push(head);
    const tail = Buffer.alloc(14);
    const mode = type === "symlink" ? 0o120777 : type === "directory" ? 0o040755 : 0o100644;
    tail.writeUInt32LE((mode << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    const madeBy = Buffer.alloc(2);
    madeBy.writeUInt16LE(UNIX | 20);
    central.push(Buffer.concat([Buffer.from("PK\x01\x02", "latin1"), madeBy, common, tail, path]));
    offset += head.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...local, directory, end]);
}
