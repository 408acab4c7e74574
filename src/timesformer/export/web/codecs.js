// Codec strings of WebCodecs from the settings in a container (RFC 6381 and the codecs' own registrations).

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
  return { codec: `vp09.${two(profile)}.${two(level)}.${two(depth)}`, name: "VP9" };
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
