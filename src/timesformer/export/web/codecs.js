// Codec strings of WebCodecs from the settings in a container (RFC 6381 and the codecs' own registrations).

const MATRICES = { 1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020-ncl" };

/** Colors by the code of their matrix (ITU-T H.273); null if it says nothing. */
export function colorsOf(matrix, fullRange) {
  return matrix in MATRICES ? { matrix: MATRICES[matrix], fullRange } : null;
}

const hex = (value) => value.toString(16).toUpperCase().padStart(2, "0");
const two = (value) => String(value).padStart(2, "0");

function avc(prefix, body) {
  return { codec: `${prefix}.${hex(body[1])}${hex(body[2])}${hex(body[3])}`, description: body, name: "H.264" };
}

function hevc(prefix, body) {
  const space = ["", "A", "B", "C"][body[1] >> 6];
  const tier = body[1] & 0x20 ? "H" : "L";
  let compatibility = 0;
  for (let bit = 0; bit < 32; bit += 1) {
    if (body[2 + (bit >> 3)] & (0x80 >> (bit & 7))) compatibility += 2 ** bit;
  }
  const constraints = Array.from(body.subarray(6, 12));
  while (constraints.length > 0 && constraints[constraints.length - 1] === 0) constraints.pop();
  const parts = [`${prefix}.${space}${body[1] & 0x1f}`, compatibility.toString(16).toUpperCase(), `${tier}${body[12]}`,
    ...constraints.map(hex)];
  return { codec: parts.join("."), description: body, name: "HEVC" };
}

function av1(body) {
  const depth = body[2] & 0x40 ? (body[2] & 0x20 ? 12 : 10) : 8;
  return { codec: `av01.${body[1] >> 5}.${two(body[1] & 0x1f)}${body[2] & 0x80 ? "H" : "M"}.${two(depth)}`, name: "AV1" };
}

function vp9(body) {
  const [profile, level, depth] = body ? [body[4], body[5], body[6] >> 4] : [0, 10, 8];
  const codec = `vp09.${two(profile)}.${two(level)}.${two(depth)}`;
  return { codec, name: "VP9", ...(body && { colors: colorsOf(body[9], (body[6] & 1) === 1) }) };
}

const MP4 = {
  avc1: (find) => avc("avc1", find("avcC")),
  avc3: (find) => avc("avc3", find("avcC")),
  hvc1: (find) => hevc("hvc1", find("hvcC")),
  hev1: (find) => hevc("hev1", find("hvcC")),
  av01: (find) => av1(find("av1C")),
  vp09: (find) => vp9(find("vpcC")),
  vp08: () => ({ codec: "vp8", name: "VP8" }),
};

/** Codec of an MP4 sample entry; `find` gives the body of one of its boxes. */
export function codecOf(entry, find) {
  if (!(entry in MP4)) throw new Error(`its codec ${entry.trim()} is not one of ${Object.keys(MP4).join(", ")}`);
  return MP4[entry](find);
}

const MATROSKA = {
  "V_MPEG4/ISO/AVC": (data) => avc("avc1", data),
  "V_MPEGH/ISO/HEVC": (data) => hevc("hvc1", data),
  V_AV1: (data) => av1(data),
  V_VP9: () => vp9(),
  V_VP8: () => ({ codec: "vp8", name: "VP8" }),
};

/** Codec of a Matroska or WebM track; `data` is its CodecPrivate. */
export function matroskaCodec(id, data) {
  if (!(id in MATROSKA)) throw new Error(`its codec ${id} is not one of ${Object.keys(MATROSKA).join(", ")}`);
  return MATROSKA[id](data);
}

const VP9_MATRICES = { 1: "bt470bg", 2: "bt709", 3: "smpte170m", 5: "bt2020-ncl" };

/**
 * Colors in the header of a VP9 key frame of 8 bits; null if it says nothing.
 * Source: VP9 bitstream specification 0.6, sections 6.2 and 6.2.2.
 * @param {Uint8Array} bytes The first five of the frame.
 */
export function vp9Colors(bytes) {
  const isKeyOfProfile0 = bytes[0] >> 4 === 8 && (bytes[0] & 0x0c) === 0 && bytes[1] === 0x49;
  const matrix = isKeyOfProfile0 ? VP9_MATRICES[bytes[4] >> 5] : undefined;
  return matrix ? { matrix, fullRange: (bytes[4] & 0x10) !== 0 } : null;
}
